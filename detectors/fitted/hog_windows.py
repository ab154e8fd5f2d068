"""Windows on a map of blocks: their shape, where they lie, and how a linear machine scores them."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import conv2d

from detectors.fitted.hog_descriptor import CELL, OF_BLOCK, block_map, descriptor, filter_of
from detectors.fitted.pyramid import levels
from detectors.fitted.svm import Machine


class WindowShape(NamedTuple):
    """A window of whole cells around an object."""

    rows: int  # cells
    columns: int
    margin: int  # pixels on each side of the object

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.rows * CELL, self.columns * CELL

    @property
    def inner(self) -> tuple[int, int]:
        """(height, width) in pixels of what the object fills."""
        return self.size[0] - 2 * self.margin, self.size[1] - 2 * self.margin

    @property
    def numbers(self) -> int:
        """Those of its descriptor."""
        return (self.rows - 1) * (self.columns - 1) * OF_BLOCK

    def around(self, boxes: np.ndarray) -> np.ndarray:
        """[n, 4] the windows whose inner parts have the centres and areas of boxes [n, 4]."""
        scale = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1) / np.prod(self.inner))
        half = scale[:, None] * np.array(self.size[::-1]) / 2
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2
        return np.concatenate([centre - half, centre + half], 1)

    def inside(self, corners: np.ndarray, scale: float) -> np.ndarray:
        """[n, 4] the inner parts of windows of a scale, by their upper left corners [n, 2]."""
        first = corners + scale * self.margin
        return np.concatenate([first, first + scale * np.array(self.inner[::-1])], 1)


class SeenWindows(NamedTuple):
    """Windows of one shape on one level of a pyramid, row by row."""

    boxes: np.ndarray  # [n, 4] in pixels of the picture, of what the object fills
    margins: np.ndarray  # [n] float32
    places: np.ndarray  # [n, 2] row and column in cells of the level
    blocks: np.ndarray  # [R, C, 36] of the level

    def only(self, chosen: np.ndarray) -> "SeenWindows":
        """Those chosen, [n] bool or the numbers of some."""
        return SeenWindows(
            self.boxes[chosen], self.margins[chosen], self.places[chosen], self.blocks
        )

    def best(self, count: int) -> "SeenWindows":
        """Those with the largest margins; of equal ones the first."""
        return self.only(np.argsort(-self.margins, kind="stable")[:count])

    def descriptors(self, shape: WindowShape) -> np.ndarray:
        """[n, D] float32."""
        found = [descriptor(window(self.blocks, place, shape)) for place in self.places]
        return np.array(found, np.float32).reshape(-1, shape.numbers)


def window(blocks: np.ndarray, place: np.ndarray, shape: WindowShape) -> np.ndarray:
    """The blocks [h, w, 36] of the window at a place."""
    row, column = place
    return blocks[row : row + shape.rows - 1, column : column + shape.columns - 1]


def seen(
    picture: np.ndarray,
    asked: list[tuple[WindowShape, Machine] | None],
    ratio: float,
    padding: int,
    threshold: float,
) -> Iterator[tuple[int, SeenWindows]]:
    """Windows whose margin is at least `threshold`, by what was asked for and level by level.

    Args:
        picture: [H, W, 3] uint8.
        asked: shapes and their machines; None: not asked for.
        ratio, padding: as `pyramid.levels`.

    Yields:
        The number of what was asked for, and its windows on one level.
    """
    there = [pair for pair in asked if pair is not None]
    if not there:
        return
    heights, widths = zip(*(shape.size for shape, _ in there), strict=True)
    for level in levels(picture, ratio, (min(heights), min(widths)), padding):
        blocks = block_map(level.image)
        for number, pair in enumerate(asked):
            if pair is not None:
                shape, machine = pair
                scores = margin_map(blocks, shape, machine)
                places = np.argwhere(scores >= threshold)
                corners = level.scale * (places[:, ::-1] * CELL - padding)
                boxes = shape.inside(corners, level.scale)
                yield number, SeenWindows(boxes, scores[tuple(places.T)], places, blocks)


def margin_map(blocks: np.ndarray, shape: WindowShape, machine: Machine) -> np.ndarray:
    """[R', C'] float32, the margin of the window at each block [R, C, 36]; empty if none fits."""
    rows, columns = shape.rows - 1, shape.columns - 1
    high, wide = blocks.shape[0] - rows + 1, blocks.shape[1] - columns + 1
    if min(high, wide) < 1:
        return np.zeros((max(high, 0), max(wide, 0)), np.float32)
    kernel = filter_of(machine.weights, shape.rows, shape.columns)
    found = conv2d(_channels_first(blocks), _channels_first(kernel))
    return found[0, 0].numpy() + np.float32(machine.bias)


def _channels_first(blocks: np.ndarray) -> torch.Tensor:
    """[1, 36, R, C] of blocks [R, C, 36]."""
    return torch.from_numpy(np.ascontiguousarray(blocks.transpose(2, 0, 1)))[None]
