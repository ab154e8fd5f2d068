"""The tower of YOLOv1: every output sees the whole image."""

import math
from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor, nn

from detectors.heads import Maps, Tower
from detectors.layers.conv import Activation, activation
from detectors.layers.local import LocalConv
from detectors.ranges import Share
from detectors.structures import FeatureSpec


class Hidden(Protocol):
    """The layer between the feature level and the linear layer."""

    features: int

    def __call__(self, feature: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, features]."""
        ...


class YoloV1Tower(Tower):
    """A hidden layer over one level, then a linear one that predicts for all cells at once.

    The output vector has three blocks, each cell by cell, row by row: C class scores of a cell; its
    confidences; its boxes (x, y, root of w, root of h). A cell has one set of class scores
    (YOLOv1, sec. 2), which is repeated for each of its priors. Order of darknet
    `src/detection_layer.c`, so its weights fit.

    Args:
        specs: one level.
        num_classes: C.
        per_cell: priors of a cell, one number.
        canvas: side, or (height, width), of the images in pixels. It fixes the size of the layers.
        hidden: `(channels, height, width) -> module` of the level, one of those below.

    Raises:
        ValueError: there are several levels, or, in `forward`, images of another size.
    """

    predicts_quality = True  # confidence

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        canvas: int | Sequence[int],
        hidden: Callable[..., Hidden],
    ) -> None:
        super().__init__()
        if len(specs) != 1:
            raise ValueError(
                f"YoloV1Tower connects to one level, the neck delivers {len(specs)} (strides "
                f"{[spec.stride for spec in specs]}): set part.levels=[64] or another single stride"
            )
        (spec,), (self.per_cell,) = specs, per_cell
        height, width = (canvas, canvas) if isinstance(canvas, int) else canvas
        self.only_canvas = self.canvas = (height, width)
        self.grid = tuple(math.ceil(side / spec.stride) for side in self.canvas)
        cells = math.prod(self.grid)
        self.blocks = [cells * num_classes, cells * self.per_cell, cells * self.per_cell * 4]
        self.hidden = hidden(spec.channels, *self.grid)
        self.output = nn.Linear(self.hidden.features, sum(self.blocks))
        init_connected(self.output)

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps of the one level; quality is confidence, and all numbers are linear."""
        (feature,) = features
        self._check(feature)
        vector = self.output(self.hidden(feature))
        classes, confidences, boxes = map(self._map, vector.split(self.blocks, dim=1))
        return [(classes.repeat(1, self.per_cell, 1, 1), boxes, confidences)]

    def _map(self, block: Tensor) -> Tensor:
        """[B, H * W * k] to [B, k, H, W]."""
        return block.unflatten(1, (*self.grid, -1)).permute(0, 3, 1, 2)

    def _check(self, feature: Tensor) -> None:
        if tuple(feature.shape[-2:]) != self.grid:
            height, width = self.canvas
            raise ValueError(
                f"YoloV1Tower was made for images of {height} x {width} "
                f"pixels, {self.grid[0]} x {self.grid[1]} cells, but was given "
                f"{feature.shape[-2]} x {feature.shape[-1]} cells: set image_size to the size of "
                "the images"
            )


def init_connected(layer: nn.Linear) -> None:
    """Weights uniform in +-sqrt(2 / fan in), no bias; darknet `src/connected_layer.c`."""
    bound = (2 / layer.in_features) ** 0.5
    nn.init.uniform_(layer.weight, -bound, bound)
    nn.init.zeros_(layer.bias)


class FullHidden(nn.Module):
    """One fully connected layer, four times as wide as the level: YOLOv1's 4096 of 1024 channels.

    The level is flattened channel by channel. Dropout follows (YOLOv1, sec. 2.2).
    """

    def __init__(
        self, channels: int, height: int, width: int, act: Activation, dropout: Share = 0.5
    ) -> None:
        super().__init__()
        self.features = 4 * channels
        self.linear = nn.Linear(channels * height * width, self.features)
        self.act, self.dropout = activation(act, self.features), nn.Dropout(dropout)
        init_connected(self.linear)

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, 4 C]."""
        return self.dropout(self.act(self.linear(feature.flatten(1))))


class LocalHidden(nn.Module):
    """A locally connected layer of a quarter of the channels (`cfg/yolov1/yolo.cfg`: 256)."""

    def __init__(
        self, channels: int, height: int, width: int, act: Activation, dropout: Share = 0.5
    ) -> None:
        super().__init__()
        self.features = channels // 4 * height * width
        self.local = LocalConv(channels, channels // 4, height, width)
        self.act, self.dropout = activation(act, channels // 4), nn.Dropout(dropout)

    def forward(self, feature: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C / 4 * H * W]."""
        return self.dropout(self.act(self.local(feature)).flatten(1))
