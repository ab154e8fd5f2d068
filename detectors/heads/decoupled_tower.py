"""The tower of YOLOX: classes and boxes apart, on every level by layers of its own."""

from torch import Tensor, nn

from detectors.heads import Maps, Tower
from detectors.heads.towers import expect
from detectors.layers.conv import Activation, ConvNormAct, Norm, spatial
from detectors.ranges import Count, Inner, Positive
from detectors.structures import FeatureSpec


class DecoupledTower(Tower):
    """Per level a 1x1 convolution, then two stacks of 3x3, for classes and for box and objectness.

    YOLOX (Ge et al. 2021, sec. 2.1 "Decoupled head", fig. 2; released `yolo_head.py`). Objectness
    is read from the stack of the box. Weights start as torch has them.

    Args:
        specs, num_classes, per_cell, numbers: as `SharedTower`, but levels may differ.
        norm, act: of all but the last convolutions.
        depth: 3x3 convolutions of each stack.
        width: channels of all levels, as a multiple of the finest level's; 1 in YOLOX, 2 on
            Darknet-53, both 256 channels.
        depthwise: whether the 3x3 convolutions are separable (YOLOX-Nano).
        probability: class score and objectness before training.
    """

    predicts_quality = True
    takes_numbers = True

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        norm: Norm | None,
        act: Activation | None,
        depth: Count = 2,
        width: Positive = 1.0,
        depthwise: bool = False,
        probability: Inner = 0.01,
        numbers: int = 4,
    ) -> None:
        super().__init__()
        channels, conv = round(width * specs[0].channels), spatial(depthwise)

        def stack() -> nn.Sequential:
            return nn.Sequential(
                *(conv(channels, channels, 3, norm=norm, act=act) for _ in range(depth))
            )

        def outputs(each: int) -> nn.ModuleList:
            return nn.ModuleList(nn.Conv2d(channels, count * each, 1) for count in per_cell)

        self.stems = nn.ModuleList(
            ConvNormAct(spec.channels, channels, 1, norm=norm, act=act) for spec in specs
        )
        self.class_stacks = nn.ModuleList(stack() for _ in specs)
        self.box_stacks = nn.ModuleList(stack() for _ in specs)
        self.logits, self.deltas = outputs(num_classes), outputs(numbers)
        self.quality = outputs(1)
        for conv_of_level in (*self.logits, *self.quality):
            expect(probability, conv_of_level)

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps per level, quality is objectness."""
        return [self._level(index, feature) for index, feature in enumerate(features)]

    def _level(self, index: int, feature: Tensor) -> Maps:
        stem: Tensor = self.stems[index](feature)
        boxes = self.box_stacks[index](stem)
        logits = self.logits[index](self.class_stacks[index](stem))
        return logits, self.deltas[index](boxes), self.quality[index](boxes)
