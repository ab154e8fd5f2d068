"""The last layers of the heads that a cfg file of darknet describes."""

from collections.abc import Sequence

from torch import Tensor, nn

from detectors.backbones.cfg import convolution, layer
from detectors.darknet.plan import Branch, Plan, planned
from detectors.heads import Tower
from detectors.heads.towers import AnchorTower
from detectors.heads.yolov1_tower import YoloV1Tower
from detectors.layers.conv import Norm
from detectors.layers.dark import init_darknet
from detectors.structures import FeatureSpec


def cfg_tower(
    specs: list[FeatureSpec],
    num_classes: int,
    per_cell: list[int],
    network: str,
    norm: Norm | None,
    canvas: int | Sequence[int],
) -> Tower:
    """The tower of a cfg file: that of YOLOv1 for `[detection]`, else convolutions.

    Args:
        specs, num_classes, per_cell: as of every `Tower`.
        network: the text of the cfg file.
        norm: of convolutions with `batch_normalize=1`.
        canvas: side, or (height, width), of the images in pixels.

    Raises:
        ValueError: the numbers of the cfg do not fit each other, the data or the other parts.
    """
    plan = planned(network)
    _check_classes(plan, num_classes)
    _check_levels(plan, specs, per_cell)
    for branch, anchors in zip(plan.branches, per_cell, strict=True):
        _check_outputs(branch, num_classes, anchors)
    if plan.kind != "detection":
        return CfgTower(specs, plan, per_cell, norm)
    (branch,) = plan.branches

    def hidden(channels: int, height: int, width: int) -> CfgHidden:
        _check_grid(branch, channels, height, width)
        return CfgHidden(branch)

    return YoloV1Tower(specs, num_classes, per_cell, canvas, hidden)


class CfgTower(AnchorTower):
    """Per level the convolution before a `[yolo]` or `[region]` layer."""

    def __init__(
        self, specs: list[FeatureSpec], plan: Plan, per_cell: list[int], norm: Norm | None
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            convolution(branch.steps[0], norm, spec.channels)
            for branch, spec in zip(plan.branches, specs, strict=True)
        )
        self.per_cell = per_cell
        init_darknet(self)


class CfgHidden(nn.Module):
    """The layers between the feature and the last connected layer before `[detection]`."""

    def __init__(self, branch: Branch) -> None:
        super().__init__()
        *before, last = branch.steps
        self.features = last.inputs[0].channels * last.inputs[0].height * last.inputs[0].width
        self.layers = nn.Sequential(*(layer(step, None) for step in before), nn.Flatten())

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, features]."""
        return self.layers(feature)


def _check_classes(plan: Plan, num_classes: int) -> None:
    section = plan.branches[0].section
    if section["classes"] != num_classes:
        raise section.refusal(
            f"num_classes={num_classes}: leave num_classes out, the cfg file says it", "classes"
        )


def _check_levels(plan: Plan, specs: list[FeatureSpec], per_cell: list[int]) -> None:
    strides = [branch.stride for branch in plan.branches]
    if [spec.stride for spec in specs] != strides or len(per_cell) != len(strides):
        raise ValueError(
            f"the cfg file has heads for strides {strides}, but the neck delivers "
            f"{[spec.stride for spec in specs]} and the priors are for {len(per_cell)} levels: "
            "leave the neck and the priors, or choose another tower too, such as tower=level"
        )


def _check_outputs(branch: Branch, num_classes: int, anchors: int) -> None:
    """Refuse a last layer that does not give as many numbers as its detection layer reads."""
    last, section = branch.steps[-1].section, branch.section
    if section.name == "detection":
        key, cells = "output", section["side"] ** 2
        wanted, told = cells * (num_classes + 5 * anchors), f"{cells} * ({num_classes} + "
        told += f"{anchors} * 5)"
    else:
        key, wanted = "filters", anchors * (5 + num_classes)
        told = f"{anchors} * (5 + {num_classes})"
    if last[key] != wanted:
        raise last.refusal(
            f"the [{section.name}] in line {section.line} reads {wanted} = {told}: expected "
            f"{key}={wanted}",
            key,
        )
    if section.name == "detection" and last["batch_normalize"] != "0":
        raise last.refusal("expected none before a detection layer", "batch_normalize")


def _check_grid(branch: Branch, channels: int, height: int, width: int) -> None:
    section, shape = branch.section, branch.shape
    if (channels, height, width) != shape[:3]:
        raise section.refusal(
            f"its layers are made for {shape.told()}, but are given {width} x {height} x "
            f"{channels}: leave image_size and neck, or write another width and height into [net]"
        )
    if (height, width) != (section["side"], section["side"]):
        raise section.refusal(f"but there are {width} x {height} cells", "side")
