"""Layers that cfg files of darknet name and that no family here has by itself.

Those that join several maps take a list of them.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.folding import reorg, space_to_depth
from detectors.ranges import Count, Positive, Whole


class Formula(nn.Module):
    """An activation by what it computes, `src/activations.h`."""

    def __init__(self, compute: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.compute = compute

    def forward(self, x: Tensor) -> Tensor:
        return self.compute(x)


def _hard_mish(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, (x * x / 2 + x).where(x > -2, 0.0))


def _lhtan(x: Tensor) -> Tensor:
    return x.clamp(0, 1) + 0.001 * (x - x.clamp(0, 1))


def _plse(x: Tensor) -> Tensor:
    inner = x.clamp(-4, 4)
    return 0.125 * inner + 0.5 + 0.01 * (x - inner)


def _selu(x: Tensor) -> Tensor:
    return 1.0507 * torch.where(x >= 0, x, 1.6732 * torch.expm1(x.clamp(max=0)))


def _ramp(x: Tensor) -> Tensor:
    return x.relu() + 0.1 * x


def _loggy(x: Tensor) -> Tensor:
    return 2 * x.sigmoid() - 1


ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "leaky": partial(nn.LeakyReLU, 0.1),
    "mish": nn.Mish,
    "logistic": nn.Sigmoid,
    "swish": nn.SiLU,
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "hard_mish": partial(Formula, _hard_mish),
    "elu": nn.ELU,
    "selu": partial(Formula, _selu),
    "gelu": partial(nn.GELU, approximate="tanh"),
    "tanh": nn.Tanh,
    "hardtan": nn.Hardtanh,
    "lhtan": partial(Formula, _lhtan),
    "loggy": partial(Formula, _loggy),
    "ramp": partial(Formula, _ramp),
    "relie": partial(nn.LeakyReLU, 0.01),
    "plse": partial(Formula, _plse),
}


def followed(layer: nn.Module, activation: str) -> nn.Module:
    """The layer and an activation by darknet's name behind it."""
    if activation == "linear":
        return layer
    return nn.Sequential(layer, ACTIVATIONS[activation]())


class PaddedPool(nn.Module):
    """Maximum over windows of a padded map, `src/maxpool_layer.c`.

    [B, C, H, W] -> [B, C, (H + padding - size) / stride + 1, ...], rounded down.

    Args:
        size: cells along a side of a window.
        strides: cells from window to window, down and across.
        padding: cells along each side of the map in total, the smaller half left and on top.
    """

    def __init__(self, size: Count, strides: tuple[Count, Count], padding: Whole) -> None:
        super().__init__()
        self.size, self.strides, self.padding = size, strides, padding

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(_padded(x, self.padding, -torch.inf), self.size, self.strides)

    def extra_repr(self) -> str:
        return f"{self.size}, strides={self.strides}, padding={self.padding}"


class PaddedMean(nn.Module):
    """Mean of those cells of windows that lie in the map: `PaddedPool` with a mean."""

    def __init__(self, size: Count, strides: tuple[Count, Count], padding: Whole) -> None:
        super().__init__()
        self.size, self.strides, self.padding = size, strides, padding

    def forward(self, x: Tensor) -> Tensor:
        present = _padded(torch.ones_like(x[:1, :1]), self.padding, 0.0)
        sums = F.avg_pool2d(_padded(x, self.padding, 0.0), self.size, self.strides)
        return sums / F.avg_pool2d(present, self.size, self.strides)

    def extra_repr(self) -> str:
        return f"{self.size}, strides={self.strides}, padding={self.padding}"


def _padded(x: Tensor, padding: int, value: float) -> Tensor:
    before, after = padding // 2, padding - padding // 2
    return F.pad(x, (before, after, before, after), value=value)


class Route(nn.Module):
    """Joins one of equal groups of the channels of each map, in the order of the list."""

    def __init__(self, groups: Count, group: Whole) -> None:
        super().__init__()
        self.groups, self.group = groups, group

    def forward(self, maps: list[Tensor]) -> Tensor:
        parts = [x.chunk(self.groups, dim=1)[self.group] for x in maps] if self.groups > 1 else maps
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def extra_repr(self) -> str:
        return f"{self.group} of {self.groups}" if self.groups > 1 else ""


class Shortcut(nn.Module):
    """The sum of maps of one shape."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        return sum(maps[1:], start=maps[0])


class WeightedShortcut(nn.Module):
    """A sum of maps with learnt weights, one for each map or for each of its channels.

    `src/blas.c`, `shortcut_multilayer_cpu`; all weights start at one. Its own backward pass takes
    the shares for constants, here they are derived.

    Args:
        inputs: number of maps.
        channels: of each map; 1 where all of them share a weight.
        normalization: "none"; "relu", each weight above zero over their sum; or "softmax".
    """

    eps = 1e-4  # added to the sum of the weights

    def __init__(self, inputs: Count, channels: Count, normalization: str) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(inputs, channels))
        self.normalization = normalization

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        shares = self._shares()[:, :, None, None]
        weighted = [x * share for x, share in zip(maps, shares, strict=True)]
        return sum(weighted[1:], start=weighted[0])

    def _shares(self) -> Tensor:
        """[inputs, channels]."""
        if self.normalization == "none":
            return self.weights
        parts = self.weights.relu()
        if self.normalization == "softmax":
            parts = (self.weights - self.weights.amax(0).detach()).exp()
        return parts / (parts.sum(0) + self.eps)

    def extra_repr(self) -> str:
        return f"{tuple(self.weights.shape)}, {self.normalization}"


class Product(nn.Module):
    """The product of two maps; one of a single cell counts for all cells (`[sam]`, SE)."""

    def forward(self, maps: list[Tensor]) -> Tensor:
        return maps[0] * maps[1]


class GlobalMean(nn.Module):
    """The mean over a map: [B, C, H, W] -> [B, C, 1, 1]."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((-2, -1), keepdim=True)


class Upsampled(nn.Module):
    """Every cell repeated to a square, times a factor."""

    def __init__(self, factor: Count, scale: Positive) -> None:
        super().__init__()
        self.factor, self.scale = factor, scale

    def forward(self, x: Tensor) -> Tensor:
        larger = F.interpolate(x, scale_factor=float(self.factor), mode="nearest")
        return larger if self.scale == 1 else self.scale * larger

    def extra_repr(self) -> str:
        return f"{self.factor}, scale={self.scale}"


class Folded(nn.Module):
    """`reorg`, or `space_to_depth`, of a map."""

    def __init__(self, factor: Count, scrambled: bool) -> None:
        super().__init__()
        self.factor, self.scrambled = factor, scrambled

    def forward(self, x: Tensor) -> Tensor:
        return (reorg if self.scrambled else space_to_depth)(x, self.factor)

    def extra_repr(self) -> str:
        return f"{self.factor}, {'reorg' if self.scrambled else 'reorg3d'}"
