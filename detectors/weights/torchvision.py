"""Fills a detector from a checkpoint of another library, its tensors renamed to our parts.

Files are local and read with `weights_only=True`, so nothing in them is executed.
"""

import logging
import re
from pathlib import Path

import torch
from torch import Tensor, nn

from detectors.weights.darknet import read_weights
from detectors.weights.effdet import from_effdet
from detectors.weights.yolox import from_yolox

State = dict[str, Tensor]

_log = logging.getLogger(__name__)


def load_weights(detector: nn.Module, source: str, original: nn.Module | None = None) -> None:
    """Fills `detector` from `source`, every tensor of it unless a darknet file ends early.

    What was filled, what was not and why is logged.

    Args:
        detector: of the architecture that the file holds.
        source: `torchvision:PATH` for a state dict of torchvision's RetinaNet, FCOS, Faster R-CNN
            (R50-FPN; v2 are models of their own) or SSD300. Class 0 of those is never trained:
            RetinaNet and FCOS want `num_classes` as there (91), the others one less, for there it
            is the background.
            The released v1 of RetinaNet and Faster R-CNN expect `norm=frozen part.norm.eps=0.0`.
            `effdet:PATH` for a state dict of effdet's EfficientDet, of 90 classes as published.
            `yolox:PATH` for a state dict or a checkpoint of YOLOX, or of a fork of it.
            `darknet:PATH` for a `.weights` file, which may end early, see `weights.darknet`.
        original: the same detector with as many classes as the file has. It is filled, and what
            does not depend on the number of classes goes from there to `detector`; the rest stays
            as it was.

    Raises:
        ValueError: the source or file is unknown, or a tensor is missing, left over or of another
            shape; the message lists them.
    """
    _fill(detector if original is None else original, source)
    if original is not None:
        _take_over(detector, original, source)


def _fill(detector: nn.Module, source: str) -> None:
    """All of `detector` from the file."""
    kind, _, path = source.partition(":")
    if kind not in (*READERS, "darknet") or not path:
        known = [*READERS, "darknet"]
        raise ValueError(
            f"weights={source!r}: expected FILE.ckpt of `detectors train`, or KIND:PATH with KIND "
            f"one of {known}"
        )
    if not Path(path).is_file():
        raise ValueError(f"weights={source!r}: there is no file {path}; download it first")
    if kind == "darknet":
        read_weights(detector, path)
        return
    state = torch.load(path, map_location="cpu", weights_only=True)
    renamed = READERS[kind](state)
    check_tensors(detector.state_dict(), renamed, source, REMEDY)
    detector.load_state_dict(renamed, strict=False)
    _log.info("%s: filled all tensors, %d; batch counters may differ", source, len(renamed))


def _take_over(detector: nn.Module, original: nn.Module, source: str) -> None:
    """The state of `original` wherever it has the shape of ours; the rest is logged."""
    own, given = detector.state_dict(), original.state_dict()
    shared = {name: given[name] for name in own if given[name].shape == own[name].shape}
    detector.load_state_dict(shared, strict=False)
    for name in sorted(own.keys() - shared.keys()):
        tell_left_out(source, name, given, own)


def tell_left_out(source: str, name: str, given: State, own: State) -> None:
    """Log that a tensor of the file was not taken."""
    _log.info(
        "%s: left out %s, which depends on the number of classes: %s in the file, %s here",
        *(source, name, tuple(given[name].shape), tuple(own[name].shape)),
    )


def from_torchvision(state: State) -> State:
    """A torchvision detection state dict under the names of our parts."""
    # There blocks of convolution, perhaps norm, and ReLU are numbered, here all layers.
    length = 3 if "head.classification_head.conv.0.1.weight" in state else 2
    return {_renamed(name, length): tensor for name, tensor in state.items()}


def _renamed(name: str, length: int) -> str:
    for pattern, replacement in TORCHVISION:
        name, found = re.subn(pattern, replacement, name)
        if found:
            break
    return re.sub(r"block(\d)\.(\d)", lambda at: str(length * int(at[1]) + int(at[2])), name)


# Where the convolutions of VGG-16 up to conv4_3 stand among torchvision's layers, per stage.
VGG16 = ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21))

TORCHVISION = [
    (r"^backbone\.fpn\.inner_blocks\.(\d)\.1\.", r"neck.lateral.\1.norm."),
    (r"^backbone\.fpn\.layer_blocks\.(\d)\.1\.", r"neck.output.\1.norm."),
    (r"^backbone\.fpn\.inner_blocks\.(\d)(\.0)?\.", r"neck.lateral.\1.conv."),
    (r"^backbone\.fpn\.layer_blocks\.(\d)(\.0)?\.", r"neck.output.\1.conv."),
    (r"^backbone\.fpn\.extra_blocks\.(p\d)\.", r"neck.extra.\1.conv."),
    (r"^head\.classification_head\.conv\.(\d\.\d)\.", r"head.tower.class_stack.block\1."),
    (r"^head\.regression_head\.conv\.(\d\.\d)\.", r"head.tower.box_stack.block\1."),
    (r"^head\.classification_head\.conv\.", r"head.tower.class_stack."),
    (r"^head\.regression_head\.conv\.", r"head.tower.box_stack."),
    (r"^head\.classification_head\.cls_logits\.", r"head.tower.logits."),
    (r"^head\.regression_head\.bbox_reg\.", r"head.tower.deltas."),
    (r"^head\.regression_head\.bbox_ctrness\.", r"head.tower.quality."),
    (r"^rpn\.head\.conv\.(\d\.0)\.", r"head.proposal_head.tower.conv.block\1."),
    (r"^rpn\.head\.conv\.", r"head.proposal_head.tower.conv.0."),
    (r"^rpn\.head\.cls_logits\.", r"head.proposal_head.tower.logits."),
    (r"^rpn\.head\.bbox_pred\.", r"head.proposal_head.tower.deltas."),
    (r"^roi_heads\.box_head\.fc6\.", r"head.region_head.hidden.0."),
    (r"^roi_heads\.box_head\.fc7\.", r"head.region_head.hidden.2."),
    (r"^roi_heads\.box_head\.(\d)\.0\.", r"head.region_head.convs.\1.conv."),
    (r"^roi_heads\.box_head\.(\d)\.1\.", r"head.region_head.convs.\1.norm."),
    (r"^roi_heads\.box_head\.5\.", r"head.region_head.hidden."),
    (r"^roi_heads\.box_predictor\.cls_score\.", r"head.region_head.predictor.logits."),
    (r"^roi_heads\.box_predictor\.bbox_pred\.", r"head.region_head.predictor.deltas."),
    (r"^backbone\.scale_weight$", r"backbone.l2norm.scale"),
    *(
        (rf"^backbone\.features\.{layer}\.", rf"backbone.stages.{stage}.{position}.conv.")
        for stage, layers in enumerate(VGG16)
        for position, layer in enumerate(layers)
    ),
    *(
        (rf"^backbone\.extra\.0\.{2 * position + 1}\.", rf"backbone.stages.4.{position}.conv.")
        for position in range(3)
    ),
    (r"^backbone\.extra\.0\.7\.1\.", r"backbone.fc6.conv."),
    (r"^backbone\.extra\.0\.7\.3\.", r"backbone.fc7.conv."),
    *(
        (rf"^backbone\.extra\.{level}\.{layer}\.", rf"neck.levels.conv{level + 7}.{name}.conv.")
        for level in range(1, 5)
        for layer, name in ((0, "squeeze"), (2, "reduce"))
    ),
    (r"^head\.classification_head\.module_list\.(\d)\.", r"head.tower.logits.\1."),
    (r"^head\.regression_head\.module_list\.(\d)\.", r"head.tower.deltas.\1."),
]

READERS = {"torchvision": from_torchvision, "effdet": from_effdet, "yolox": from_yolox}
REMEDY = (
    "Choose the model, size and num_classes that the file was made for; or set weights_classes to "
    "the file's number of classes to leave out what depends on it"
)


def check_tensors(own: State, given: State, source: str, remedy: str) -> None:
    """Refuse a state that does not fill the detector exactly; batch counters do not matter.

    Raises:
        ValueError: lists tensors that are missing, left over or of another shape, and the remedy.
    """
    missing = [n for n in own if n not in given and not n.endswith("num_batches_tracked")]
    left_over = [n for n in given if n not in own and not n.endswith("num_batches_tracked")]
    differing = [
        f"{n} is {tuple(given[n].shape)}, expected {tuple(own[n].shape)}"
        for n in own
        if n in given and own[n].shape != given[n].shape
    ]
    problems = {"missing": missing, "left over": left_over, "of another shape": differing}
    if any(problems.values()):
        listed = "; ".join(f"{len(p)} {what}: {p[:3]}" for what, p in problems.items() if p)
        raise ValueError(f"weights={source!r} do not fit the detector. {listed}. {remedy}")
