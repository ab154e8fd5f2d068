"""Names the tensors of YOLOX's releases as our parts do.

The releases show their networks BGR and join the maxima of a spatial pyramid in another order, so
the input channels of the layers behind both change their order.
"""

import re

from torch import Tensor

State = dict[str, Tensor]

# Theirs by the place of the part, then what the part itself is made of.
PLACES = [
    (r"^backbone\.backbone\.stem\.conv\.", r"backbone.stem.conv."),
    (r"^backbone\.backbone\.stem\.0\.", r"backbone.stem."),
    *(
        (rf"^backbone\.backbone\.stem\.{layer + 1}\.", rf"backbone.stages.0.{layer}.")
        for layer in (0, 1)
    ),
    *(
        (rf"^backbone\.backbone\.dark5\.{layer}\.", rf"neck.sets.2.{place}.")
        for layer, place in ((5, "0.0"), (6, "0.1"), (8, "2.1"), (9, "2.2"))
    ),
    (r"^backbone\.backbone\.dark5\.7\.conv1\.", r"neck.sets.2.0.2."),
    (r"^backbone\.backbone\.dark5\.7\.conv2\.", r"neck.sets.2.2.0."),
    *((rf"^backbone\.out{i}_cbl\.", rf"neck.squeezes.{2 - i}.") for i in (1, 2)),
    *((rf"^backbone\.out{i}\.", rf"neck.sets.{2 - i}.") for i in (1, 2)),
    (r"^backbone\.lateral_conv0\.", r"neck.squeezes.1."),
    (r"^backbone\.reduce_conv1\.", r"neck.squeezes.0."),
    (r"^backbone\.C3_p4\.", r"neck.top_down.1."),
    (r"^backbone\.C3_p3\.", r"neck.top_down.0."),
    (r"^backbone\.bu_conv2\.", r"neck.reductions.0."),
    (r"^backbone\.bu_conv1\.", r"neck.reductions.1."),
    (r"^backbone\.C3_n3\.", r"neck.bottom_up.0."),
    (r"^backbone\.C3_n4\.", r"neck.bottom_up.1."),
    (r"^head\.cls_convs\.", r"head.tower.class_stacks."),
    (r"^head\.reg_convs\.", r"head.tower.box_stacks."),
    (r"^head\.cls_preds\.", r"head.tower.logits."),
    (r"^head\.reg_preds\.", r"head.tower.deltas."),
    (r"^head\.obj_preds\.", r"head.tower.quality."),
    (r"^head\.stems\.", r"head.tower.stems."),
]
INSIDE = [
    (r"\.m\.(\d+)\.conv1\.", r".blocks.\1.squeeze."),
    (r"\.m\.(\d+)\.conv2\.", r".blocks.\1.expand."),
    (r"\.layer1\.", r".squeeze."),
    (r"\.layer2\.", r".expand."),
    (r"\.dconv\.", r".depthwise."),
    (r"\.pconv\.", r".pointwise."),
    (r"\.conv1\.", r".enter."),
    (r"\.conv2\.", r".aside."),
    (r"\.conv3\.", r".merge."),
    (r"\.bn\.", r".norm."),
]
PYRAMID = r"^backbone\.backbone\.dark5\.1\.conv"  # of CSPDarknet
BEHIND_PYRAMID = r"^(backbone\.stages\.3\.1\.2|neck\.sets\.2\.2\.0)\.conv\.weight$"
BEHIND_PIXELS = r"^backbone\.stem(\.conv)?\.conv\.weight$"


def from_yolox(state: State) -> State:
    """A YOLOX state dict, or a checkpoint that has one, under the names of our parts."""
    found: State = state.get("model", state)  # type: ignore[assignment]
    plain = any(name.startswith("backbone.backbone.dark5.1.conv1.bn") for name in found)
    named = {_renamed(name, plain): tensor for name, tensor in found.items()}
    return {name: _reordered(name, tensor) for name, tensor in named.items()}


def _renamed(name: str, pyramid: bool) -> str:
    """The name here; `pyramid`: the second layer of the last stage is a spatial pyramid."""
    if pyramid and re.match(PYRAMID, name):
        name = re.sub(r"1\.conv(\d)\.", lambda at: f"1.{2 * int(at[1]) - 2}.", name)
    for pattern, replacement in PLACES:
        name, found = re.subn(pattern, replacement, name)
        if found:
            break
    stem = 2 if pyramid else 1  # CSPDarknet's has stride 2; Darknet's holds the first stage
    dark = r"^backbone\.backbone\.dark(\d)\."
    name = re.sub(dark, lambda at: f"backbone.stages.{int(at[1]) - stem}.", name)
    for pattern, replacement in INSIDE:
        name = re.sub(pattern, replacement, name)
    return name


def _reordered(name: str, weight: Tensor) -> Tensor:
    """The tensor, its input channels in the order that we have."""
    if re.match(BEHIND_PIXELS, name):
        return weight.unflatten(1, (-1, 3)).flip(2).flatten(1, 2)
    if re.match(BEHIND_PYRAMID, name):
        return weight.unflatten(1, (4, -1)).flip(1).flatten(1, 2)
    return weight
