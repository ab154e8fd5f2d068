"""Renames the tensors of an EfficientDet of `effdet` to those of ours.

That is efficientdet-pytorch by Wightman, whose `tf_efficientdet_d*` hold the weights of Google's
release. Of their 90 classes the first is COCO's category 1.
"""

import re

from torch import Tensor

State = dict[str, Tensor]

X_FIRST = [1, 0, 3, 2]  # places of tx, ty, tw and th among theirs

# timm's norms with an activation: that of the stem and, in every block, all but the last. Blocks of
# the first stage have two, the others three. Ours stand in front of that activation in a sequence.
BACKBONE = [(r"^(bn1|blocks\.0\.\d+\.bn1|blocks\.[1-9]\.\d+\.bn[12])\.", r"\1.0.")]

NODE = [
    (r"^combine\.edge_weights$", r"fuse.weights"),
    (r"^after_combine\.conv\.conv_dw\.", r"depthwise."),
    (r"^after_combine\.conv\.conv_pw\.", r"pointwise.conv."),
    (r"^after_combine\.conv\.bn\.", r"pointwise.norm."),
]
HEAD = [
    (r"^(class|box)_net\.conv_rep\.(\d+)\.", r"\1_stack.convs.\2."),
    (r"^(class|box)_net\.bn_rep\.(\d+)\.(\d+)\.bn\.", r"\1_stack.norms.\3.\2."),
    (r"^class_net\.predict\.", r"logits."),
    (r"^box_net\.predict\.", r"deltas."),
    (r"\.conv_dw\.", r".depthwise."),
    (r"\.conv_pw\.", r".pointwise."),
]


def from_effdet(state: State) -> State:
    """The state dict of an `effdet.EfficientDet` under the names of our parts, x before y."""
    nodes = {name.split(".")[4] for name in state if name.startswith("fpn.cell.0.fnode.")}
    levels = len(nodes) // 2 + 1
    return {_renamed(name, levels): _x_first(name, tensor) for name, tensor in state.items()}


def _renamed(name: str, levels: int) -> str:
    part, _, rest = name.partition(".")
    if part == "backbone":
        return f"backbone.body.{_substituted(rest, BACKBONE)}"
    if part == "fpn":
        return f"neck.{_of_neck(rest, levels)}"
    return f"head.tower.{_substituted(name, HEAD)}"


def _of_neck(name: str, levels: int) -> str:
    """Their nodes are numbered from the second coarsest level down, then from the second finest."""
    if added := re.match(r"resample\.(\d+)\.conv\.", name):
        return _lateral("lateral", int(added[1]), name[added.end() :])
    found = re.match(r"cell\.(\d+)\.fnode\.(\d+)\.", name)
    if found is None:
        return name
    cell, node, rest = found[1], int(found[2]), name[found.end() :]
    rising = node - (levels - 1)
    if entering := re.match(r"combine\.resample\.(\d+)\.conv\.", rest):
        level, after = int(entering[1]), rest[entering.end() :]
        falls = rising < 0
        return _lateral(*(("lateral", level) if falls else ("lateral_up", level - 1)), after)
    place = f"up.{rising}" if rising >= 0 else f"down.{-1 - rising}"
    return f"paths.{cell}.{place}.{_substituted(rest, NODE)}"


def _lateral(kind: str, index: int, layer: str) -> str:
    return f"{kind}.{index}.{layer.replace('bn.', 'norm.')}"


def _substituted(name: str, patterns: list[tuple[str, str]]) -> str:
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


def _x_first(name: str, tensor: Tensor) -> Tensor:
    """The deltas of every anchor in our order."""
    if not name.startswith("box_net.predict.conv_pw."):
        return tensor
    return tensor.unflatten(0, (-1, 4))[:, X_FIRST].flatten(0, 1)
