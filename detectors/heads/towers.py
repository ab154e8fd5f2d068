"""Towers: the convolutions between the neck and the predictions of a dense head.

Their contract is `detectors.heads.Tower`.
"""

import math
from abc import ABC
from functools import partial

import torch
from torch import Tensor, nn

from detectors.heads import Maps, Tower
from detectors.layers.conv import Activation, ConvNormAct, Norm, activation
from detectors.layers.dark import init_darknet
from detectors.ranges import Count, Inner, Weight
from detectors.structures import FeatureSpec

RELU = partial(nn.ReLU, inplace=True)


def expect(probability: Inner, logits: nn.Module) -> None:
    """Set the bias of a layer so that its sigmoid starts at `probability` (RetinaNet, sec. 4.1)."""
    nn.init.constant_(logits.get_parameter("bias"), -math.log((1 - probability) / probability))


def same_everywhere(values: list[int], what: str, tower: str) -> int:
    """The one value of a list; shared weights need the same on every level.

    Raises:
        ValueError: the values differ.
    """
    if len(set(values)) != 1:
        raise ValueError(
            f"{tower} shares its weights over all levels, but {what} differ: {values}. Choose a "
            "neck of one width (fpn...) and priors alike on all levels, or a tower=level"
        )
    return values[0]


class SharedTower(Tower):
    """Two stacks of convolutions, for classes and boxes, shared by all levels (RetinaNet, sec. 4).

    Args:
        specs: feature levels, all of one width.
        num_classes: C.
        per_cell: priors per cell of each level, all the same.
        depth: 3 x 3 convolutions of each stack.
        norm: after each of them; None for RetinaNet, group norm for FCOS.
        quality: also predict a quality from the box stack (FCOS, sec. 3.4 "improvements").
        probability: the class score before training.
        bias: of the stacks' convolutions; torchvision's RetinaNet v2 has none before its norms.
        act: behind each of them.
        scaled: whether the deltas of each level are multiplied by a learnt number, 1 at first
            (FCOS, sec. 3.2; its release and those after it, but not torchvision's).
        numbers: regressed for each prior, as many as the coder decodes.
    """

    takes_numbers = True

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        depth: Count = 4,
        norm: Norm | None = None,
        quality: bool = False,
        probability: Inner = 0.01,
        bias: bool = True,
        act: Activation = RELU,
        scaled: bool = False,
        numbers: int = 4,
    ) -> None:
        super().__init__()
        channels = same_everywhere([spec.channels for spec in specs], "channels", "SharedTower")
        anchors = same_everywhere(per_cell, "priors per cell", "SharedTower")
        self.class_stack = _stack(channels, depth, norm, act, bias)
        self.box_stack = _stack(channels, depth, norm, act, bias)
        self.logits = nn.Conv2d(channels, anchors * num_classes, 3, padding=1)
        self.deltas = nn.Conv2d(channels, anchors * numbers, 3, padding=1)
        self.quality = nn.Conv2d(channels, anchors, 3, padding=1) if quality else None
        self.scales = nn.Parameter(torch.ones(len(specs))) if scaled else None
        self.predicts_quality = quality
        normal_init(self, 0.01)
        expect(probability, self.logits)

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps per level."""
        levels = [self._level(feature) for feature in features]
        if self.scales is None:
            return levels
        return [
            (logits, deltas * scale, quality)
            for (logits, deltas, quality), scale in zip(levels, self.scales, strict=True)
        ]

    def _level(self, feature: Tensor) -> Maps:
        boxes = self.box_stack(feature)
        quality = None if self.quality is None else self.quality(boxes)
        return self.logits(self.class_stack(feature)), self.deltas(boxes), quality


class BoxTower(Tower):
    """One stack of convolutions for classes and boxes, shared by all levels (CenterNet2).

    Zhou et al. 2021, "Probabilistic two-stage detection"; the release's `centernet_head.py` with
    `ONLY_PROPOSAL`. Each level multiplies its deltas by a number of its own.

    Args:
        specs, num_classes, per_cell, depth, norm, probability, act, numbers: as of `SharedTower`.
        reach: bias of the deltas, in what the coder decodes; 8 strides to each side.
    """

    takes_numbers = True

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        depth: Count = 4,
        norm: Norm | None = None,
        probability: Inner = 0.01,
        act: Activation = RELU,
        reach: Weight = 8.0,
        numbers: int = 4,
    ) -> None:
        super().__init__()
        channels = same_everywhere([spec.channels for spec in specs], "channels", "BoxTower")
        anchors = same_everywhere(per_cell, "priors per cell", "BoxTower")
        self.stack = _stack(channels, depth, norm, act)
        self.logits = nn.Conv2d(channels, anchors * num_classes, 3, padding=1)
        self.deltas = nn.Conv2d(channels, anchors * numbers, 3, padding=1)
        self.scales = nn.Parameter(torch.ones(len(specs)))
        normal_init(self, 0.01)
        expect(probability, self.logits)
        nn.init.constant_(self.deltas.get_parameter("bias"), reach)

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps per level, without quality."""
        hidden = [self.stack(feature) for feature in features]
        levels = zip(hidden, self.scales, strict=True)
        return [(self.logits(level), self.deltas(level) * scale, None) for level, scale in levels]


def _stack(
    channels: int, depth: Count, norm: Norm | None, act: Activation, bias: bool = True
) -> nn.Sequential:
    """`depth` times a 3 x 3 convolution, norm and activation."""
    layers: list[nn.Module] = []
    for _ in range(depth):
        layers += [nn.Conv2d(channels, channels, 3, padding=1, bias=bias)]
        layers += [norm(channels)] if norm is not None else []
        layers += [activation(act, channels)]
    return nn.Sequential(*layers)


def normal_init(module: nn.Module, std: float) -> None:
    """Normal weights and zero biases for every convolution and linear layer in `module`."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class RPNTower(Tower):
    """One 3 x 3 convolution and two 1 x 1 siblings, shared by all levels (Faster R-CNN, sec. 3.1).

    Args as `SharedTower`; torchvision's v2 has a depth of two.
    """

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        depth: Count = 1,
        act: Activation = RELU,
    ) -> None:
        super().__init__()
        channels = same_everywhere([spec.channels for spec in specs], "channels", "RPNTower")
        anchors = same_everywhere(per_cell, "priors per cell", "RPNTower")
        self.conv = _stack(channels, depth, None, act)
        self.logits = nn.Conv2d(channels, anchors * num_classes, 1)
        self.deltas = nn.Conv2d(channels, anchors * 4, 1)
        normal_init(self, 0.01)

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps per level, without quality."""
        hidden = [self.conv(feature) for feature in features]
        return [(self.logits(level), self.deltas(level), None) for level in hidden]


class SoftmaxRPNTower(Tower):
    """One 3 x 3 convolution and two 1 x 1 siblings, background having a logit of its own.

    Faster R-CNN, sec. 3.1 "2k scores". Logits are 1 + C per prior, background first.

    Args as `SharedTower`.
    """

    predicts_background = True

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        act: Activation = RELU,
    ) -> None:
        super().__init__()
        self.siblings = RPNTower(specs, 1 + num_classes, per_cell, act=act)

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps per level, without quality."""
        return self.siblings(features)


class AnchorTower(Tower, ABC):
    """A tower with a network of its own for each level, which gives all predictions at once.

    Channels of an anchor stand in darknet's order: x, y, w, h, object, classes.

    Attributes:
        levels: the networks, finest first.
        per_cell: A of each level.
    """

    predicts_quality = True  # objectness

    levels: nn.ModuleList
    per_cell: list[int]

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps per level, quality is objectness."""
        levels = zip(self.levels, features, self.per_cell, strict=True)
        return [split_anchors(level(feature), anchors) for level, feature, anchors in levels]

    def separate_levels(self) -> list[tuple[nn.Module, int]]:
        """All levels."""
        return list(zip(self.levels, self.per_cell, strict=True))


class LevelTower(AnchorTower):
    """YOLOv2 to v4: per level a 3 x 3 convolution of twice the width, then all predictions at once.

    Args:
        specs, num_classes, per_cell: as `SharedTower`, but levels may differ.
        norm, act: of the 3 x 3 convolution.
    """

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        norm: Norm,
        act: Activation,
    ) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Sequential(
                ConvNormAct(spec.channels, 2 * spec.channels, 3, norm=norm, act=act),
                nn.Conv2d(2 * spec.channels, anchors * (5 + num_classes), 1),
            )
            for spec, anchors in zip(specs, per_cell, strict=True)
        )
        self.per_cell = per_cell
        init_darknet(self)


def split_anchors(level: Tensor, anchors: int) -> Maps:
    """Logits, deltas and objectness from [B, A * (5 + C), H, W]."""
    per_anchor = level.unflatten(1, (anchors, -1))
    logits, deltas = per_anchor[:, :, 5:].flatten(1, 2), per_anchor[:, :, :4].flatten(1, 2)
    return logits, deltas, per_anchor[:, :, 4]


class SingleTower(AnchorTower):
    """YOLOv2 and the tiny YOLOs: per level one 1 x 1 convolution for all predictions.

    `cfg/yolov2.cfg`, layer 30; `cfg/yolov4-tiny.cfg`, layers 29 and 36.

    Args:
        specs, num_classes, per_cell: as `SharedTower`, but levels may differ.
    """

    def __init__(self, specs: list[FeatureSpec], num_classes: int, per_cell: list[int]) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.Conv2d(spec.channels, anchors * (5 + num_classes), 1)
            for spec, anchors in zip(specs, per_cell, strict=True)
        )
        self.per_cell = per_cell
        init_darknet(self)


class SSDTower(Tower):
    """SSD: per level one 3 x 3 convolution for background and classes and one for boxes (sec. 2.1).

    Args as `SharedTower`, but levels may differ. Logits are 1 + C per prior, background first.
    """

    predicts_background = True

    def __init__(self, specs: list[FeatureSpec], num_classes: int, per_cell: list[int]) -> None:
        super().__init__()
        if len(specs) != len(per_cell):
            raise ValueError(
                f"the priors are made for {len(per_cell)} feature levels, but the neck delivers "
                f"{len(specs)}: choose `priors` and a `neck` of as many levels"
            )
        levels = list(zip(specs, per_cell, strict=True))
        self.logits = nn.ModuleList(
            nn.Conv2d(spec.channels, anchors * (1 + num_classes), 3, padding=1)
            for spec, anchors in levels
        )
        self.deltas = nn.ModuleList(
            nn.Conv2d(spec.channels, anchors * 4, 3, padding=1) for spec, anchors in levels
        )
        for conv in (*self.logits, *self.deltas):
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps per level, without quality."""
        levels = zip(self.logits, self.deltas, features, strict=True)
        return [(logits(feature), deltas(feature), None) for logits, deltas, feature in levels]


class CenterNetTower(Tower):
    """CenterNet: classes, sizes and offsets, each from its own 3 x 3 and 1 x 1 convolution.

    Args:
        specs: one feature level.
        num_classes, per_cell: as `SharedTower`.
        width: channels between the two convolutions; 64 for ResNets, 256 for the others.
        probability: the class score before training.
        act: between the two convolutions.
    """

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        width: Count = 64,
        probability: Inner = 0.1,
        act: Activation = RELU,
    ) -> None:
        super().__init__()
        if len(specs) != 1:
            raise ValueError(
                f"CenterNetTower reads one feature level, the neck delivers {len(specs)}: "
                "choose neck=deconv, or tower=shared"
            )
        if per_cell != [1]:
            raise ValueError(
                f"CenterNetTower predicts one box a cell, the priors are {per_cell[0]} a cell: "
                "choose priors=points_single, or tower=shared"
            )
        channels = specs[0].channels
        self.logits = branch(channels, width, num_classes, act)
        self.offsets = branch(channels, width, 2, act)
        self.sizes = branch(channels, width, 2, act)
        for numbers in (self.offsets, self.sizes):
            normal_init(numbers, 0.001)
        expect(probability, self.logits[-1])

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps of the one level; deltas are (offset x, offset y, width, height)."""
        (feature,) = features
        deltas = torch.cat([self.offsets(feature), self.sizes(feature)], dim=1)
        return [(self.logits(feature), deltas, None)]


def branch(
    channels: int, width: int, outputs: int, act: Activation, kernel: int = 3
) -> nn.Sequential:
    """A convolution, an activation and a 1 x 1 convolution."""
    return nn.Sequential(
        nn.Conv2d(channels, width, kernel, padding=kernel // 2),
        activation(act, width),
        nn.Conv2d(width, outputs, 1),
    )
