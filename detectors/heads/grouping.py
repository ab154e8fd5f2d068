"""Groups the corners of objects to boxes."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.ops.boxes import centers
from detectors.ops.selection import gather_rows
from detectors.postprocess import top_pairs
from detectors.ranges import Count, Positive
from detectors.structures import Candidates


class Keypoints(NamedTuple):
    """The best peaks of the heat maps of one kind of points, scores falling."""

    places: Tensor  # [B, K, 2] x and y in pixels
    scores: Tensor  # [B, K]
    labels: Tensor  # [B, K] int64
    tags: Tensor  # [B, K]; zero for points that have none


class PointMap(NamedTuple):
    """What a head predicts of one kind of points: cell by cell, row by row."""

    candidates: Candidates  # their boxes are points
    tags: Tensor | None  # [B, H * W]
    size: tuple[int, int]  # (H, W) in cells


class Grouped(NamedTuple):
    """Boxes that points make, scores falling; a score of zero is none."""

    boxes: Tensor  # [B, P, 4]
    scores: Tensor  # [B, P]
    labels: Tensor  # [B, P] int64


def best_peaks(found: PointMap, most: int) -> Keypoints:
    """The best cells that no neighbour of their class beats, `most` of each image.

    CornerNet, sec. 4.2: a 3 x 3 maximum over the heat map. Of equal neighbours both are peaks.
    """
    scores = found.candidates.scores  # [B, N, C]
    heat = scores.unflatten(1, found.size).permute(0, 3, 1, 2)
    beaten = (F.max_pool2d(heat, 3, stride=1, padding=1) > heat).permute(0, 2, 3, 1).flatten(1, 2)
    best, pair = top_pairs(scores.masked_fill(beaten, 0.0), most)
    prior, labels = pair // scores.shape[-1], pair % scores.shape[-1]
    places = centers(gather_rows(found.candidates.boxes, prior))
    tags = torch.zeros_like(best) if found.tags is None else found.tags.gather(1, prior)
    return Keypoints(places, best, labels, tags)


class CornerPairs(nn.Module):
    """Every top left corner with every bottom right one that fits (CornerNet, sec. 3.3 and 4.2).

    A pair fits if both are of one class, their tags are near, and the second does not lie left of
    the first or above it. It scores the mean of both.

    Args:
        most: corners of each kind that are looked at.
        distance: largest difference of two tags.
        pairs: boxes of each image.
    """

    def __init__(self, most: Count = 100, distance: Positive = 0.5, pairs: Count = 1000) -> None:
        super().__init__()
        self.most, self.distance, self.pairs = most, distance, pairs

    def forward(self, points: dict[str, PointMap], frames: Tensor) -> Grouped:
        """The best pairs.

        Args:
            points: "top_left" and "bottom_right", with tags.
            frames: [B, 4] the part of the canvas that each picture fills.
        """
        first, second = (best_peaks(points[name], self.most) for name in CORNERS)
        shape = (*first.scores.shape, second.scores.shape[1])  # [B, K, K]
        low = first.places[:, :, None].expand(*shape, 2)
        high = second.places[:, None].expand(*shape, 2)
        alike = first.labels[:, :, None] == second.labels[:, None]
        near = (first.tags[:, :, None] - second.tags[:, None]).abs() <= self.distance
        fits = alike & near & (high >= low).all(-1)
        scores = (first.scores[:, :, None] + second.scores[:, None]) / 2 * fits
        best, index = scores.flatten(1).topk(min(self.pairs, shape[1] * shape[2]), dim=1)
        boxes = gather_rows(torch.cat([low, high], dim=-1).flatten(1, 2), index)
        return Grouped(boxes, best, first.labels.gather(1, index // shape[2]))


CORNERS = ("top_left", "bottom_right")
