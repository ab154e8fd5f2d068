"""Towers of two linear layers over pooled features: of the whole image, or of windows."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.heads import Maps, Tower
from detectors.heads.towers import normal_init
from detectors.ranges import Share
from detectors.structures import FeatureSpec


class GlobalTower(Tower):
    """The mean of a level, then a linear layer for the classes and one for the box.

    Classification with localisation: Li, Johnson and Yeung 2017, lectures of CS231n, no. 11; Ng
    2017, "Convolutional Neural Networks", week 3.

    Args:
        specs: one feature level.
        num_classes: C.
        per_cell: one prior, the level being one cell.
        dropout: of the mean.

    Raises:
        ValueError: there are several levels, or several priors.
    """

    one_cell = True

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        channels = _channels(specs, type(self).__name__)
        if per_cell != [1]:
            raise ValueError(
                f"GlobalTower predicts one box an image, the priors are {per_cell[0]}: choose "
                "priors=canvas, or tower=windows"
            )
        self.dropout = nn.Dropout(dropout)
        self.logits, self.deltas = _linear_layers(channels, num_classes)

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps of one cell, without quality."""
        mean = self.dropout(features[0].mean(dim=(2, 3)))
        return [(_cell(self.logits(mean)), _cell(self.deltas(mean)), None)]


class WindowTower(Tower):
    """The means of windows around each cell, then the two linear layers, shared by all windows.

    A detector of sliding windows, computed for all of them at once (Sermanet et al. 2014,
    "OverFeat", sec. 3.5 and 4). Where a window crosses the border, its inner part counts. Features
    see beyond the window by the reach of the backbone, as a crop's would not. Logits are 1 + C for
    each window, background first.

    Args:
        specs: one feature level.
        num_classes: C.
        per_cell: the number of windows, one number.
        windows: for the one level, the (width, height) of each window in cells, odd numbers, so
            that a cell is its middle; the shapes of the priors.
        dropout: of the means.

    Raises:
        ValueError: there are several levels, a side is even, or the windows are not the priors.
    """

    predicts_background = True

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        per_cell: list[int],
        windows: Sequence[Sequence[tuple[float, float]]],
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        channels = _channels(specs, type(self).__name__)
        (shapes,) = windows
        if per_cell != [len(shapes)]:
            raise ValueError(
                f"WindowTower pools {len(shapes)} windows a cell, the priors are {per_cell[0]}: "
                "choose priors=windows"
            )
        self.windows = [(int(width), int(height)) for width, height in shapes]
        if any(side != int(side) or side % 2 == 0 for shape in shapes for side in shape):
            raise ValueError(
                f"windows of {list(map(tuple, shapes))} cells: expected odd numbers, so that a "
                "cell is in the middle; set part.priors.shapes"
            )
        self.dropout = nn.Dropout(dropout)
        self.logits, self.deltas = _linear_layers(channels, 1 + num_classes)

    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Maps of the one level, without quality."""
        means = torch.stack([window_means(features[0], *shape) for shape in self.windows], dim=1)
        rows = self.dropout(means.movedim(2, -1))  # [B, A, H, W, channels]
        return [(_maps(self.logits(rows)), _maps(self.deltas(rows)), None)]


def window_means(feature: Tensor, width: int, height: int) -> Tensor:
    """The mean over the window around each cell, of what lies inside: [B, C, H, W] as the feature.

    Args:
        feature: [B, C, H, W].
        width, height: of the window in cells, odd numbers.
    """
    kernel, padding = (height, width), (height // 2, width // 2)
    return F.avg_pool2d(feature, kernel, stride=1, padding=padding, count_include_pad=False)


def _linear_layers(channels: int, classes: int) -> tuple[nn.Linear, nn.Linear]:
    """One for the classes and one for the box."""
    layers = nn.Linear(channels, classes), nn.Linear(channels, 4)
    for layer in layers:
        normal_init(layer, 0.01)
    return layers


def _channels(specs: list[FeatureSpec], tower: str) -> int:
    if len(specs) != 1:
        raise ValueError(
            f"{tower} reads one feature level, the neck delivers {len(specs)} (strides "
            f"{[spec.stride for spec in specs]}): set part.levels=[32] or another single stride"
        )
    return specs[0].channels


def _cell(row: Tensor) -> Tensor:
    """[B, k] as a map [B, k, 1, 1]."""
    return row[..., None, None]


def _maps(rows: Tensor) -> Tensor:
    """[B, A, H, W, k] as maps [B, A * k, H, W]."""
    return rows.movedim(-1, 2).flatten(1, 2)
