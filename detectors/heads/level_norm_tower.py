"""A tower whose convolutions are shared by all levels, while each level has norms of its own."""

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from detectors.heads import Maps, Tower
from detectors.heads.towers import expect, normal_init, same_everywhere
from detectors.layers.conv import Activation, Norm, activation
from detectors.ranges import Count, Inner
from detectors.structures import FeatureSpec

Convolution = Callable[..., nn.Module]  # (in channels, out channels, bias=) -> module


class LevelNormTower(Tower):
    """Two stacks, for classes and boxes: shared convolutions, norms by level and by depth.

    The statistics of levels differ, so a batch norm that all share fits none of them: EfficientDet
    (Tan et al. 2020; `class_net` and `box_net` of the release), NAS-FPN (Ghiasi et al. 2019, the
    head of its release and of mmdet's `RetinaSepBNHead`).

    Args:
        specs: feature levels, all of one width.
        num_classes: C.
        per_cell: priors per cell of each level, all the same.
        norm: made for each level behind each convolution of a stack.
        act: behind each norm.
        convolution: makes every convolution, those that predict too, with its initial weights.
        depth: convolutions of each stack.
        bias: of the stacks' convolutions, though norms follow them.
        quality: also predict a quality from the box stack.
        probability: the class score before training.
        numbers: regressed for each prior, as many as the coder decodes.
    """

    takes_numbers = True

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        norm: Norm | None,
        act: Activation,
        convolution: Convolution,
        depth: Count = 3,
        bias: bool = True,
        quality: bool = False,
        probability: Inner = 0.01,
        numbers: int = 4,
    ) -> None:
        super().__init__()
        channels = same_everywhere([spec.channels for spec in specs], "channels", "LevelNormTower")
        anchors = same_everywhere(per_cell, "priors per cell", "LevelNormTower")
        conv = partial(convolution, channels, channels, bias=bias)
        self.class_stack = _Stack(conv, depth, len(specs), channels, norm, act)
        self.box_stack = _Stack(conv, depth, len(specs), channels, norm, act)
        self.logits = convolution(channels, anchors * num_classes)
        self.deltas = convolution(channels, anchors * numbers)
        self.quality = convolution(channels, anchors) if quality else None
        self.predicts_quality = quality
        expect(probability, self.logits)

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps per level."""
        return [self._level(feature, level) for level, feature in enumerate(features)]

    def _level(self, feature: Tensor, level: int) -> Maps:
        boxes = self.box_stack(feature, level)
        quality = None if self.quality is None else self.quality(boxes)
        return self.logits(self.class_stack(feature, level)), self.deltas(boxes), quality


class _Stack(nn.Module):
    """Convolutions, after each the norm of the level and an activation."""

    def __init__(
        self,
        conv: Callable[[], nn.Module],
        depth: Count,
        levels: int,
        channels: int,
        norm: Norm | None,
        act: Activation,
    ) -> None:
        super().__init__()
        norm = norm or nn.Identity
        self.convs = nn.ModuleList(conv() for _ in range(depth))
        self.norms = nn.ModuleList(
            nn.ModuleList(norm(channels) for _ in range(depth)) for _ in range(levels)
        )
        self.acts = nn.ModuleList(activation(act, channels) for _ in range(depth))

    def forward(self, x: Tensor, level: int) -> Tensor:
        """[B, channels, H, W] of a level, 0 the finest, to the same shape."""
        for conv, norm, act in zip(
            self.convs, self.norms[level].children(), self.acts, strict=True
        ):
            x = act(norm(conv(x)))
        return x


def plain_conv(in_channels: Count, out_channels: Count, bias: bool = True) -> nn.Conv2d:
    """A 3x3 convolution with normal weights of deviation 0.01, bias zero (RetinaNet, sec. 4.1)."""
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
    normal_init(conv, 0.01)
    return conv
