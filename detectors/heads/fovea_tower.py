"""The tower of the aligned FoveaBox: classes are read where the boxes lie."""

from torch import Tensor, nn
from torchvision.ops import DeformConv2d

from detectors.coders import LogDistance
from detectors.heads import Maps, Tower
from detectors.heads.towers import RELU, expect, normal_init, same_everywhere
from detectors.layers.conv import Activation, ConvNormAct, Norm, activation
from detectors.ranges import Count, Inner
from detectors.structures import FeatureSpec


class AlignedTower(Tower):
    """A stack for boxes, and classes from samples that the boxes shift (FoveaBox, alignment).

    Shared by all levels. The exponentials of a cell's four numbers, through a 1 x 1 convolution,
    shift the samples of a 3 x 3 convolution; two convolutions of four times the width follow. The
    gradient of the classes reaches the boxes, as in the release. The shifted convolution computes
    in float32, to which torchvision's kernel casts under autocast.

    Args:
        specs: feature levels, all of one width.
        num_classes: C.
        per_cell: one prior a cell on each level.
        norm: after each convolution of the stacks.
        depth: 3 x 3 convolutions of the box stack.
        groups: of channels whose samples are shifted alike.
        probability: the class score before training.
        act: behind each of them.
    """

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        norm: Norm,
        depth: Count = 4,
        groups: Count = 4,
        probability: Inner = 0.01,
        act: Activation = RELU,
    ) -> None:
        super().__init__()
        width = same_everywhere([spec.channels for spec in specs], "channels", "AlignedTower")
        if set(per_cell) != {1}:
            raise ValueError(
                f"AlignedTower shifts its samples by one box a cell, but {per_cell} priors are "
                "in a cell: choose priors=points_middle, or tower=shared"
            )
        wide = 4 * width
        self.box_stack = nn.Sequential(
            *(ConvNormAct(width, width, 3, norm=norm, act=act) for _ in range(depth))
        )
        self.deltas = nn.Conv2d(width, 4, 3, padding=1)
        self.shifts = nn.Conv2d(4, groups * 2 * 9, 1, bias=False)
        self.aligned = DeformConv2d(width, width, 3, padding=1, bias=False)
        self.act = activation(act, width)
        self.class_stack = nn.Sequential(
            ConvNormAct(width, wide, 3, norm=norm, act=act),
            ConvNormAct(wide, wide, 1, norm=norm, act=act),
        )
        self.logits = nn.Conv2d(wide, num_classes, 3, padding=1)
        normal_init(self, 0.01)
        nn.init.normal_(self.shifts.weight, std=0.1)
        nn.init.normal_(self.aligned.weight, std=0.01)
        expect(probability, self.logits)

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps per level, without quality."""
        return [self._level(feature) for feature in features]

    def _level(self, feature: Tensor) -> Maps:
        deltas = self.deltas(self.box_stack(feature))
        shifts = self.shifts(deltas.clamp(max=LogDistance.limit).exp())
        read = self.aligned(feature.float(), shifts.float()).to(feature.dtype)
        return self.logits(self.class_stack(self.act(read))), deltas, None
