"""The tower of a head that predicts points: CornerNet's."""

import torch

from detectors.heads import Maps, Tower
from detectors.heads.towers import RELU, branch, expect
from detectors.layers.conv import Activation
from detectors.ranges import Count, Inner
from detectors.structures import FeatureSpec


class PointTower(Tower):
    """Classes and offsets, each from its own convolution and a 1 x 1 one (CornerNet, sec. 3.5).

    Args:
        specs: one feature level.
        num_classes, per_cell: as `SharedTower`.
        width: channels between the two convolutions; those of the level if None.
        kernel: of the first one; 3 in CornerNet, 1 in CornerNet-Squeeze.
        probability: the class score before training.
        act: between the two.
        numbers: regressed for each prior, as many as the coder decodes.
    """

    takes_numbers = True

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        width: Count | None = None,
        kernel: Count = 3,
        probability: Inner = 0.1,
        act: Activation = RELU,
        numbers: int = 4,
    ) -> None:
        super().__init__()
        if len(specs) != 1:
            raise ValueError(
                f"PointTower reads one feature level, the neck delivers {len(specs)}: choose "
                "head=corners and a backbone of hourglasses, or tower=shared"
            )
        if per_cell != [1]:
            raise ValueError(
                f"PointTower predicts one point a cell, the priors are {per_cell[0]} a cell: "
                "choose priors=points_single, or tower=shared"
            )
        channels = specs[0].channels
        width = width or channels
        self.logits = branch(channels, width, num_classes, act, kernel)
        self.numbers = branch(channels, width, numbers, act, kernel)
        expect(probability, self.logits[-1])

    def forward(self, features: list[torch.Tensor]) -> list[Maps]:
        """Maps of the one level."""
        (feature,) = features
        return [(self.logits(feature), self.numbers(feature), None)]
