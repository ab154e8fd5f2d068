"""Prior grids lay out the boxes and points that predictions start from; with their contract.

Recomputed from the feature shapes at each call, never a buffer, so any input size works.
"""

import math
from abc import ABC, abstractmethod
from typing import Annotated

import torch
from torch import Tensor, nn

from detectors.ops.boxes import from_center
from detectors.ranges import Count, Positive, Share
from detectors.structures import FeatureSpec, Priors

Shape = tuple[Positive, Positive]  # width and height


class PriorGrid(nn.Module, ABC):
    """Lays priors over feature levels of any size."""

    per_cell: Annotated[list[int], "priors in a cell of each level, finest level first"]
    one_cell: Annotated[bool, "whether a level is one cell, whatever its size"] = False

    @abstractmethod
    def forward(self, features: list[Tensor], specs: list[FeatureSpec]) -> Priors:
        """Priors of all levels, finest first; within a level cell by cell, row by row."""


def cell_positions(
    feature: Tensor, spec: FeatureSpec, canvas: tuple[int, int], offset: Share, fitted: bool
) -> Tensor:
    """Position (x, y) in input pixels of each cell, row by row, [H * W, 2].

    Args:
        feature: [B, C, H, W].
        canvas: (height, width) of the network input.
        offset: where in its cell a position lies, in cells: 0.5 is the middle, 0 the corner.
        fitted: cells are `canvas // cells` pixels apart as in torchvision, which is less than the
            stride where the canvas is no multiple of it.
    """
    height, width = feature.shape[-2:]
    step_y, step_x = (
        (canvas[0] // height, canvas[1] // width) if fitted else (spec.stride, spec.stride)
    )
    y = (torch.arange(height, device=feature.device, dtype=torch.float32) + offset) * step_y
    x = (torch.arange(width, device=feature.device, dtype=torch.float32) + offset) * step_x
    grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([grid_x.flatten(), grid_y.flatten()], dim=-1)


def canvas_size(features: list[Tensor], specs: list[FeatureSpec]) -> tuple[int, int]:
    """(height, width) of the network input, from the finest level."""
    height, width = features[0].shape[-2:]
    return height * specs[0].stride, width * specs[0].stride


class BoxGrid(PriorGrid):
    """The same boxes on every cell of a level, centred there.

    Args:
        shapes: per level, the (width, height) in pixels of each prior of a cell.
        offset, fitted: see `cell_positions`.
    """

    def __init__(
        self,
        shapes: list[list[Shape]],
        offset: Share = 0.5,
        fitted: bool = False,
    ) -> None:
        super().__init__()
        self.shapes, self.offset, self.fitted = shapes, offset, fitted
        self.per_cell = [len(level) for level in shapes]

    def forward(self, features: list[Tensor], specs: list[FeatureSpec]) -> Priors:
        """Priors of all levels, finest first; within a level cell by cell, then shape by shape."""
        check_levels(self.per_cell, specs)
        canvas = canvas_size(features, specs)
        boxes, strides = [], []
        for feature, spec, level in zip(features, specs, self.shapes, strict=True):
            shapes = torch.tensor(level, device=feature.device)
            position = cell_positions(feature, spec, canvas, self.offset, self.fitted)
            boxes.append(from_center(position[:, None], shapes[None]).flatten(0, 1))
            strides.append(torch.full((len(boxes[-1]),), float(spec.stride), device=feature.device))
        sizes = tuple(len(level) for level in boxes)
        return Priors(torch.cat(boxes)[None], torch.cat(strides), sizes, canvas)


def anchors(
    sizes: list[list[Positive]],
    ratios: list[Positive],
    offset: Share = 0.0,
    fitted: bool = True,
) -> BoxGrid:
    """Anchors of every size and ratio, ratio by ratio, rounded to whole pixels (torchvision).

    Args:
        sizes: per level, square roots of the anchor areas in pixels.
        ratios: height over width (Faster R-CNN, sec. 3.1.1).
        offset, fitted: see `cell_positions`; torchvision's weights expect the defaults.
    """
    shapes = [[_anchor_shape(size, ratio) for ratio in ratios for size in level] for level in sizes]
    return BoxGrid(shapes, offset, fitted)


def _anchor_shape(size: float, ratio: float) -> tuple[float, float]:
    """Twice the rounded half sides, as torchvision rounds corners; float32 as there."""
    root = torch.tensor(ratio, device="cpu").sqrt()  # also in a model built on meta
    width, height = (1 / root) * size, root * size
    return 2 * float((width / 2).round()), 2 * float((height / 2).round())


def default_boxes(
    sizes: list[tuple[Positive, Positive]], ratios: list[list[Positive]], largest: float = math.inf
) -> BoxGrid:
    """SSD's default boxes (sec. 2.2): two squares, then each ratio lying and standing.

    Args:
        sizes: per level, the side of the small square in pixels and that of the next level's; the
            second square is their geometric mean.
        ratios: per level, width over height above one.
        largest: longer sides are cut to this; torchvision's are to the image's.
    """
    shapes = [
        [_cut(shape, largest) for shape in _default_shapes(small, following, level)]
        for (small, following), level in zip(sizes, ratios, strict=True)
    ]
    return BoxGrid(shapes)


def _default_shapes(small: float, following: float, ratios: list[float]) -> list[Shape]:
    mean = math.sqrt(small * following)
    pairs = [(small * math.sqrt(ratio), small / math.sqrt(ratio)) for ratio in ratios]
    flipped = [shape for long, short in pairs for shape in ((long, short), (short, long))]
    return [(small, small), (mean, mean), *flipped]


def _cut(shape: Shape, largest: float) -> Shape:
    return min(shape[0], largest), min(shape[1], largest)


class Points(PriorGrid):
    """One point a cell, as a square one stride wide (FCOS sec. 3.1, CenterNet sec. 3).

    Args:
        levels: how many levels the neck delivers.
        offset, fitted: see `cell_positions`.
    """

    def __init__(self, levels: Count, offset: Share = 0.5, fitted: bool = False) -> None:
        super().__init__()
        self.offset, self.fitted = offset, fitted
        self.per_cell = [1] * levels

    def forward(self, features: list[Tensor], specs: list[FeatureSpec]) -> Priors:
        """Priors of all levels, finest first, cell by cell."""
        shapes = [[(float(spec.stride), float(spec.stride))] for spec in specs]
        check_levels(self.per_cell, specs)
        return BoxGrid(shapes, self.offset, self.fitted)(features, specs)


def check_levels(per_cell: list[int], specs: list[FeatureSpec]) -> None:
    """Refuse priors for another number of levels than there are.

    Raises:
        ValueError: names both numbers.
    """
    if len(per_cell) != len(specs):
        raise ValueError(
            f"the priors are made for {len(per_cell)} feature levels, but the neck delivers "
            f"{len(specs)} (strides {[spec.stride for spec in specs]}): choose a `priors` and a "
            "`neck` of as many levels"
        )


class CellShapes(PriorGrid):
    """Boxes in the middle of each cell, their shapes given in cells (YOLOv2, sec. 2).

    Args:
        shapes: per level, the (width, height) in cells of each prior of a cell.
    """

    def __init__(self, shapes: list[list[Shape]]) -> None:
        super().__init__()
        self.shapes = shapes
        self.per_cell = [len(level) for level in shapes]

    def forward(self, features: list[Tensor], specs: list[FeatureSpec]) -> Priors:
        """Priors of all levels, finest first; within a level cell by cell, then shape by shape."""
        check_levels(self.per_cell, specs)
        pixels = [
            [(width * spec.stride, height * spec.stride) for width, height in level]
            for level, spec in zip(self.shapes, specs, strict=True)
        ]
        return BoxGrid(pixels)(features, specs)


def octave_anchors(
    levels: Count, scale: Positive, octaves: Count, shapes: list[Shape]
) -> CellShapes:
    """Anchors of several sizes within an octave and of every shape, size by size, not rounded.

    Args:
        levels: how many levels the neck delivers.
        scale: the smallest size, in strides.
        octaves: sizes between `scale` and twice that, in equal ratios.
        shapes: (width, height) by which a size is multiplied.
    """
    sizes = [scale * 2 ** (index / octaves) for index in range(octaves)]
    level = [(size * width, size * height) for size in sizes for width, height in shapes]
    return CellShapes([level] * levels)


class WholeImage(PriorGrid):
    """Boxes as large as the canvas in the middle of each cell of one level.

    YOLOv1 has no priors, but predicts sides relative to the image (sec. 2): so the image is one.

    Args:
        count: boxes per cell, B in the paper.
    """

    def __init__(self, count: Count) -> None:
        super().__init__()
        self.per_cell = [count]

    def forward(self, features: list[Tensor], specs: list[FeatureSpec]) -> Priors:
        """Priors cell by cell."""
        check_levels(self.per_cell, specs)
        height, width = canvas_size(features, specs)
        shapes = [(float(width), float(height))] * self.per_cell[0]
        return BoxGrid([shapes])(features, specs)


class Canvas(PriorGrid):
    """One prior, the whole canvas; the one level is its cell.

    For one object an image, whose box is a part of the image (Ng 2017, "Convolutional Neural
    Networks", week 3, "Object localization").
    """

    one_cell = True

    def __init__(self) -> None:
        super().__init__()
        self.per_cell = [1]

    def forward(self, features: list[Tensor], specs: list[FeatureSpec]) -> Priors:
        """The one prior."""
        check_levels(self.per_cell, specs)
        height, width = canvas = canvas_size(features, specs)
        device = features[0].device
        box = torch.tensor([[[0.0, 0.0, width, height]]], device=device)
        return Priors(box, torch.full((1,), float(specs[0].stride), device=device), (1,), canvas)
