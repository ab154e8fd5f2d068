"""Layers of cfg files against the formulas and loops of darknet's source, written out."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from detectors.darknet.sections import ACTIVATIONS as NAMES
from detectors.layers.darknet import (
    ACTIVATIONS,
    Folded,
    PaddedMean,
    PaddedPool,
    Route,
    Upsampled,
    WeightedShortcut,
)
from detectors.layers.pool import DarkPool


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))


FORMULAS: dict[str, Callable[[float], float]] = {  # src/activations.h
    "leaky": lambda x: x if x > 0 else 0.1 * x,
    "mish": lambda x: x * math.tanh(math.log(math.exp(x) + 1)),
    "logistic": logistic,
    "swish": lambda x: x * logistic(x),
    "relu": lambda x: x * (x > 0),
    "relu6": lambda x: min(max(x, 0), 6),
    "hard_mish": lambda x: x if x > 0 else x * x / 2 + x if x > -2 else 0,
    "elu": lambda x: x if x >= 0 else math.exp(x) - 1,
    "selu": lambda x: 1.0507 * x if x >= 0 else 1.0507 * 1.6732 * (math.exp(x) - 1),
    "gelu": lambda x: 0.5 * x * (1 + math.tanh(0.797885 * x + 0.035677 * x**3)),
    "tanh": math.tanh,
    "hardtan": lambda x: -1 if x < -1 else min(x, 1),
    "lhtan": lambda x: 0.001 * x if x < 0 else 0.001 * (x - 1) + 1 if x > 1 else x,
    "loggy": lambda x: 2 / (1 + math.exp(-x)) - 1,
    "ramp": lambda x: x * (x > 0) + 0.1 * x,
    "relie": lambda x: x if x > 0 else 0.01 * x,
    "plse": lambda x: (
        0.01 * (x + 4) if x < -4 else 0.01 * (x - 4) + 1 if x > 4 else 0.125 * x + 0.5
    ),
}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "linear"])
def test_an_activation_is_its_formula(name: str) -> None:
    x = torch.linspace(-7, 7, 57, requires_grad=True)
    y = ACTIVATIONS[name]()(x)
    torch.testing.assert_close(
        y, torch.tensor([FORMULAS[name](float(v)) for v in x.tolist()]), rtol=2e-5, atol=1e-5
    )
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def windows(x: Tensor, size: int, stride: int, padding: int) -> list[list[Tensor]]:
    """The cells of each window of a map [H, W], as src/maxpool_layer.c walks over them."""
    height, width = x.shape
    rows, columns = ((side + padding - size) // stride + 1 for side in (height, width))

    def cells(i: int, j: int) -> Tensor:
        top, left = i * stride - padding // 2, j * stride - padding // 2
        return x[max(top, 0) : top + size, max(left, 0) : left + size]

    return [[cells(i, j) for j in range(columns)] for i in range(rows)]


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(2, 2, 1), (2, 1, 1), (3, 1, 2), (3, 2, 2), (5, 1, 4), (4, 1, 3), (4, 2, 3), (3, 3, 0)],
)
def test_pools_are_those_of_darknets_loops(size: int, stride: int, padding: int) -> None:
    x = torch.randn(9, 7)
    cells = windows(x, size, stride, padding)
    largest = torch.tensor([[float(c.max()) for c in row] for row in cells])
    mean = torch.tensor([[float(c.mean()) for c in row] for row in cells])
    args = (size, (stride, stride), padding)
    assert torch.equal(PaddedPool(*args)(x[None, None])[0, 0], largest)
    torch.testing.assert_close(PaddedMean(*args)(x[None, None])[0, 0], mean)
    if padding == size - 1 and (size % 2 or size == 2) and stride < 3:
        assert torch.equal(DarkPool(size, stride)(x[None, None])[0, 0], largest)


@pytest.mark.parametrize("normalization", ["none", "relu", "softmax"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_weighted_shortcut_is_darknets_loop(normalization: str, channels: int) -> None:
    maps = [torch.randn(2, 3, 2, 2) for _ in range(3)]
    layer = WeightedShortcut(3, channels, normalization)
    assert torch.equal(layer.weights, torch.ones(3, channels))
    torch.nn.init.normal_(layer.weights)
    found, weights = layer(maps), layer.weights.tolist()
    for c in range(3):
        own = [row[c % channels] for row in weights]
        if normalization == "relu":
            total = 0.0001 + sum(max(w, 0) for w in own)
            own = [max(w, 0) / total for w in own]
        if normalization == "softmax":
            total = 0.0001 + sum(math.exp(w - max(own)) for w in own)
            own = [math.exp(w - max(own)) / total for w in own]
        expected = sum(w * x[:, c] for w, x in zip(own, maps, strict=True))
        torch.testing.assert_close(found[:, c], expected)


def reorg_cpu(x: Tensor, factor: int, forward: bool) -> Tensor:
    """`src/blas.c` on a flat copy, with the sizes that each of the two layers gives it."""
    channels, height, width = x.shape
    if not forward:  # [reorg] gives those of its input
        c, h, w = channels, height, width
    else:  # [reorg3d] gives those of its output
        c, h, w = channels * factor**2, height // factor, width // factor
    flat, out, inner = x.flatten(), torch.empty(x.numel()), c // factor**2
    for k in range(c):
        for j in range(h):
            for i in range(w):
                offset = k // inner
                column, row = i * factor + offset % factor, j * factor + offset // factor
                place = column + w * factor * (row + h * factor * (k % inner))
                out[i + w * (j + h * k)] = flat[place]
    return out.view(channels * factor**2, height // factor, width // factor)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("scrambled", [True, False])
def test_folding_is_darknets_loop(factor: int, scrambled: bool) -> None:
    x = torch.randn(1, factor**2 * 2, 6, 12)
    assert torch.equal(Folded(factor, scrambled)(x)[0], reorg_cpu(x[0], factor, not scrambled))


def test_a_route_takes_its_group_of_every_map() -> None:
    maps = [torch.randn(1, 4, 2, 2), torch.randn(1, 2, 2, 2)]
    assert torch.equal(Route(2, 1)(maps), torch.cat([maps[0][:, 2:], maps[1][:, 1:]], 1))
    assert torch.equal(Route(1, 0)(maps), torch.cat(maps, 1))


def test_upsampling_repeats_and_scales() -> None:
    x = torch.tensor([[[[1.0, 2.0]]]])
    assert Upsampled(2, 0.5)(x).tolist() == [[[[0.5, 0.5, 1, 1], [0.5, 0.5, 1, 1]]]]
