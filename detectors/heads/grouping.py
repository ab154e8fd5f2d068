"""Groups the corners of objects, and perhaps their centres, to boxes."""

from abc import ABC, abstractmethod
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.ops.boxes import area, centers, clip, sides
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
    """Boxes that points make, scores falling; those that score zero are none."""

    boxes: Tensor  # [B, P, 4]
    scores: Tensor  # [B, P]
    labels: Tensor  # [B, P] int64


def best_peaks(found: PointMap, most: int) -> Keypoints:
    """The best cells that no neighbour of their class beats, `most` of each image.

    CornerNet, sec. 4.2: a 3 x 3 maximum over the heat map. Of two points of a class in
    neighbouring cells only the better one is a peak, both if they are equal.
    """
    scores = found.candidates.scores  # [B, N, C]
    heat = scores.unflatten(1, found.size).permute(0, 3, 1, 2)
    beaten = (F.max_pool2d(heat, 3, stride=1, padding=1) > heat).permute(0, 2, 3, 1).flatten(1, 2)
    best, pair = top_pairs(scores.masked_fill(beaten, 0.0), most)
    prior, labels = pair // scores.shape[-1], pair % scores.shape[-1]
    places = centers(gather_rows(found.candidates.boxes, prior))
    tags = torch.zeros_like(best) if found.tags is None else found.tags.gather(1, prior)
    return Keypoints(places, best, labels, tags)


class Grouping(nn.Module, ABC):
    """Makes boxes of points."""

    objects: Annotated[int | None, "most of an image that it can find; None: unknown"] = None

    @abstractmethod
    def forward(self, points: dict[str, PointMap], frames: Tensor) -> Grouped:
        """The best boxes.

        Args:
            points: "top_left" and "bottom_right" with tags, and perhaps "center".
            frames: [B, 4] the part of the canvas that each picture fills.
        """


class CornerPairs(Grouping):
    """Every top left corner with every bottom right one that fits (CornerNet, sec. 3.3 and 4.2).

    A pair fits if both are of one class, their tags are near, and the second does not lie left of
    the first or above it. It scores the mean of both.

    Args:
        most: corners of each kind that are looked at, so the most objects that are found.
        distance: largest difference of two tags.
        pairs: boxes of each image.
    """

    def __init__(self, most: Count = 100, distance: Positive = 0.5, pairs: Count = 1000) -> None:
        super().__init__()
        self.most, self.distance, self.pairs = most, distance, pairs
        self.objects = min(most, pairs)

    def forward(self, points: dict[str, PointMap], frames: Tensor) -> Grouped:
        """The best pairs."""
        first, second = (best_peaks(points[name], self.most) for name in CORNERS)
        shape = (*first.scores.shape, second.scores.shape[1])  # [B, K, K]
        low = first.places[:, :, None].expand(*shape, 2)
        high = second.places[:, None].expand(*shape, 2)
        alike = first.labels[:, :, None] == second.labels[:, None]
        near = (first.tags[:, :, None] - second.tags[:, None]).abs() <= self.distance
        fits = alike & near & (high >= low).all(-1)
        scores = (first.scores[:, :, None] + second.scores[:, None]) / 2 * fits
        best, index = scores.flatten(1).topk(min(self.pairs, shape[1] * shape[2]), dim=1)
        boxes = torch.cat([low, high], dim=-1).masked_fill(~fits[..., None], 0.0)
        boxes = gather_rows(boxes.flatten(1, 2), index)
        return Grouped(boxes, best, first.labels.gather(1, index // shape[2]))


class CenterTriplets(Grouping):
    """Pairs of corners in whose middle lies a centre of their class (Duan et al. 2019, sec. 3.2).

    The middle is a third of each side of the box, a fifth of large boxes. Of several centres the
    best counts; a box scores two thirds of its pair and a third of the centre. Boxes that reach too
    far out of the picture go, the others are cut first, both as released (`test/coco.py`). There
    areas are those in the original picture, here in pixels of the network input.

    Args:
        corners: makes the pairs.
        most: centres that are looked at.
        large: area above which a box is large; 150 x 150 in the paper.
        outside: pixels out of the picture that are too far.
    """

    def __init__(
        self,
        corners: CornerPairs,
        most: Count = 70,
        large: Positive = 22500.0,
        outside: Positive = 5.0,
    ) -> None:
        super().__init__()
        self.corners, self.most = corners, most
        self.objects = corners.objects
        self.large, self.outside = large, outside

    def forward(self, points: dict[str, PointMap], frames: Tensor) -> Grouped:
        """The best pairs that have a centre."""
        boxes, scores, labels = self.corners(points, frames)
        middle, frame = best_peaks(points["center"], self.most), frames[:, None]
        near = (boxes[..., :2] > frame[..., :2] - self.outside).all(-1)
        near &= (boxes[..., 2:] < frame[..., 2:] + self.outside).all(-1)
        boxes = clip(boxes, frame)
        low, high = self._middles(boxes)
        held = (middle.places[:, None] > low[:, :, None]).all(-1)  # [B, P, K]
        held &= (middle.places[:, None] < high[:, :, None]).all(-1)
        held &= middle.labels[:, None] == labels[..., None]
        center = (middle.scores[:, None] * held).amax(-1)
        kept = near & (center > 0) & (scores > 0)
        best, order = ((2 * scores + center) / 3 * kept).sort(dim=1, descending=True, stable=True)
        return Grouped(gather_rows(boxes, order), best, labels.gather(1, order))

    def _middles(self, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """Upper left and lower right ends [B, P, 2] of the middles of boxes [B, P, 4]."""
        parts = torch.where(area(boxes) > self.large, 5.0, 3.0)[..., None]
        share = (parts - 1) / (2 * parts)  # of a side, before the middle and behind it
        edge = share * sides(boxes)
        return boxes[..., :2] + edge, boxes[..., 2:] - edge


CORNERS = ("top_left", "bottom_right")
