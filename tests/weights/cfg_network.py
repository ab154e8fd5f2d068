"""darknet's networks as its cfg files list them, run layer by layer from a `.weights` file.

A second implementation that shares nothing with ours, for networks and weight files. A layer is a
word: `c3/2-64` a 3x3 convolution of stride 2 with 64 filters, batch norm and activation; `y-3` a
linear 1x1 convolution with bias and its yolo layer, 3 filters; `m2/1` max-pooling; `r-1,61` a
route, `g-1` one to the second half of the channels; `s-3` a shortcut; `u` up-sampling; `o` reorg.
Numbers of layers are those of the cfg files.
"""

import re
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

OUTPUTS = 3 * (5 + 80)  # of a level, with three shapes and COCO's classes


def _residual(n: int, blocks: int) -> str:
    return f"c3/2-{2 * n} " + f"c1-{n} c3-{2 * n} s-3 " * blocks


def _five(n: int) -> str:
    return f"c1-{n} c3-{2 * n} c1-{n} c3-{2 * n} c1-{n} "


def _pyramid(n: int) -> str:
    three = f"c1-{n} c3-{2 * n} c1-{n} "
    return three + "m5/1 r-2 m9/1 r-4 m13/1 r-1,-3,-5,-6 " + three


def _head(n: int) -> str:
    return f"c3-{2 * n} y-{OUTPUTS} "


def _partial(n: int, split: int, hidden: int, blocks: int) -> str:
    inner = f"c1-{hidden} c3-{split} s-3 " * blocks
    return f"c3/2-{n} c1-{split} r-2 c1-{split} {inner}c1-{split} r-1,{-3 * blocks - 4} c1-{n} "


def _tiny_partial(n: int) -> str:
    return f"c3-{n} g-1 c3-{n // 2} c3-{n // 2} r-1,-2 c1-{n} r-6,-1 m2/2 "


DARKNET53 = "c3-32 " + "".join(_residual(32 * 2**i, n) for i, n in enumerate((1, 2, 8, 8, 4)))
CSP_DARKNET53 = (
    "c3-32 "
    + _partial(64, 64, 32, 1)
    + _partial(128, 64, 64, 2)
    + _partial(256, 128, 128, 8)
    + _partial(512, 256, 256, 8)
    + _partial(1024, 512, 512, 4)
)
V3_REST = (
    _head(512)
    + "r-4 c1-256 u r-1,61 "
    + _five(256)
    + _head(256)
    + "r-4 c1-128 u r-1,36 "
    + _five(128)
    + _head(128)
)
TINY_REST = f"c1-256 c3-512 y-{OUTPUTS} r-4 c1-128 u r-1,{{}} c3-256 y-{OUTPUTS}"
CFG = {
    "yolov2": (
        "c3-32 m2/2 c3-64 m2/2 c3-128 c1-64 c3-128 m2/2 c3-256 c1-128 c3-256 m2/2 "
        "c3-512 c1-256 c3-512 c1-256 c3-512 m2/2 c3-1024 c1-512 c3-1024 c1-512 c3-1024 "
        "c3-1024 c3-1024 r-9 c1-64 o r-1,-4 c3-1024 y-425"
    ),
    "yolov3": DARKNET53 + _five(512) + V3_REST,
    "yolov3_spp": DARKNET53 + _pyramid(512) + V3_REST,
    "yolov4": (
        CSP_DARKNET53
        + _pyramid(512)
        + "c1-256 u r85 c1-256 r-1,-3 "
        + _five(256)
        + "c1-128 u r54 c1-128 r-1,-3 "
        + _five(128)
        + _head(128)
        + "r-4 c3/2-256 r-1,-16 "
        + _five(256)
        + _head(256)
        + "r-4 c3/2-512 r-1,-37 "
        + _five(512)
        + _head(512)
    ),
    "yolov3_tiny": (
        "c3-16 m2/2 c3-32 m2/2 c3-64 m2/2 c3-128 m2/2 c3-256 m2/2 c3-512 m2/1 c3-1024 "
        + TINY_REST.format(8)
    ),
    "yolov4_tiny": (
        "c3/2-32 c3/2-64 "
        + "".join(_tiny_partial(n) for n in (64, 128, 256))
        + "c3-512 "
        + TINY_REST.format(23)
    ),
}
MISH = {"yolov4": 105}  # layers before this one; all others are leaky


def layers(name: str) -> list[str]:
    """Words of the cfg, `y` as the two layers that it is."""
    return [part for word in CFG[name].split() for part in _two(word)]


def _two(word: str) -> list[str]:
    return [word, "yolo"] if word.startswith("y") else [word]


def filters(name: str) -> list[int]:
    """Of each convolution."""
    return [int(word.split("-")[1]) for word in layers(name) if re.match(r"c|y-", word)]


def run(name: str, numbers: np.ndarray, image: Tensor, thinner: int) -> list[Tensor]:
    """What each yolo layer reads, in the order of the cfg; `numbers` is the body of a file.

    Args:
        thinner: filters are divided by this, but not those before a yolo layer.
    """
    rest = _Reader(numbers)
    outputs: list[Tensor] = []
    read, x = [], image
    for index, word in enumerate(layers(name)):
        x = _layer(word, x, outputs, rest, thinner, mish=index < MISH.get(name, 0))
        if word == "yolo":
            read.append(x)
        outputs.append(x)
    assert rest.left == 0
    return read


class _Reader:
    def __init__(self, numbers: np.ndarray) -> None:
        self.numbers, self.left = torch.from_numpy(numbers.copy()), len(numbers)

    def take(self, *shape: int) -> Tensor:
        count = int(np.prod(shape))
        start = len(self.numbers) - self.left
        self.left -= count
        return self.numbers[start : start + count].view(shape)


def _layer(
    word: str, x: Tensor, outputs: list[Tensor], rest: _Reader, thinner: int, mish: bool
) -> Tensor:
    kind, arguments = word[0], word[1:]
    if word == "yolo":
        return x
    if kind == "y":
        filters = int(arguments[1:])
        bias = rest.take(filters)
        return F.conv2d(x, rest.take(filters, x.shape[1], 1, 1), bias)
    if kind == "c":
        return _convolution(arguments, x, rest, thinner, mish)
    if kind == "m":
        size, stride = map(int, arguments.split("/"))
        before, after = (size - 1) // 2, size // 2
        padded = F.pad(x, (before, after, before, after), value=-torch.inf)
        return F.max_pool2d(padded, size, stride)
    if kind == "o":
        return _reorg(x)
    if kind == "u":
        return x.repeat_interleave(2, 2).repeat_interleave(2, 3)
    sources = [outputs[number] for number in _numbers(arguments)]
    if kind == "s":
        return x + sources[0]
    if kind == "g":
        return sources[0].chunk(2, 1)[1]
    return torch.cat(sources, 1)


def _reorg(x: Tensor) -> Tensor:
    """`reorg_cpu` with forward = 0 and stride 2, index by index."""
    _, c, h, w = x.shape
    flat, out, out_c = x.flatten(), torch.empty(x.numel()), c // 4
    for k in range(c):
        for j in range(h):
            for i in range(w):
                w2, h2 = i * 2 + (k // out_c) % 2, j * 2 + (k // out_c) // 2
                out[i + w * (j + h * k)] = flat[w2 + w * 2 * (h2 + h * 2 * (k % out_c))]
    return out.view(1, 4 * c, h // 2, w // 2)


def _numbers(arguments: str) -> Iterator[int]:
    return (int(number) for number in arguments.split(","))


def _convolution(arguments: str, x: Tensor, rest: _Reader, thinner: int, mish: bool) -> Tensor:
    shape, filters = arguments.split("-")
    size, stride = (int(number) for number in (*shape.split("/"), "1")[:2])
    n = int(filters) // thinner
    beta, gamma, mean, variance = (rest.take(n) for _ in range(4))
    x = F.conv2d(x, rest.take(n, x.shape[1], size, size), stride=stride, padding=size // 2)
    one = (slice(None), None, None)
    x = (x - mean[one]) / (variance[one] + 1e-5).sqrt() * gamma[one] + beta[one]
    return x * torch.tanh(F.softplus(x)) if mish else torch.where(x > 0, x, 0.1 * x)
