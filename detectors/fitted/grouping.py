"""Groups windows of one object, as OpenCV's `groupRectangles` does."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csgraph, csr_array
from torch import Tensor

from detectors.ops.boxes import clip
from detectors.postprocess import PostProcess
from detectors.ranges import Count, Weight, Whole
from detectors.structures import Candidates, Detections


class Groups(NamedTuple):
    """Groups of windows that are alike, in the order in which the first member comes."""

    boxes: np.ndarray  # [g, 4] int64, x, y, width and height: means of the members
    counts: np.ndarray  # [g] int64, of members
    group: np.ndarray  # [n] int64, of each window; -1: of none that was kept


class NeighbourGrouping(PostProcess):
    """Windows of one object become one detection, their mean; lonely windows become none.

    Viola & Jones 2004, sec. 5.6, with the rules of OpenCV (`grouped`). A detection scores
    s / (1 + s) where s is the sum of the scores of its windows, so one that is found more often
    scores higher.

    Args:
        neighbours, tolerance: as `grouped`.
        detections: most detections of an image.
    """

    detections: int

    def __init__(
        self, neighbours: Whole = 3, tolerance: Weight = 0.2, detections: Count = 100
    ) -> None:
        super().__init__()
        self.neighbours, self.tolerance, self.detections = neighbours, tolerance, detections

    @torch.no_grad()
    def forward(self, candidates: Candidates, frames: Tensor) -> Detections:
        """Detections of candidates with one box for all classes; scores of 0 are no windows."""
        if candidates.boxes.is_meta:  # shapes alone are asked for
            shape = len(frames), self.detections
            floats, whole = frames.new_zeros(*shape, 4), frames.new_zeros(shape).long()
            return Detections(floats, floats[..., 0], whole, whole.bool())
        numbers = candidates.boxes.cpu().numpy(), candidates.scores.cpu().numpy()
        images = [self._of_image(*image) for image in zip(*numbers, strict=True)]
        columns = (torch.from_numpy(np.stack(column)) for column in zip(*images, strict=True))
        boxes, scores, labels, valid = (column.to(frames.device) for column in columns)
        return Detections(clip(boxes, frames[:, None]), scores, labels, valid)

    def _of_image(self, boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, ...]:
        """Boxes, scores, labels and validity [K] of windows [N, 4] that score [N, C]."""
        found = [self._of_class(boxes, column) for column in scores.T]
        means, sums = (np.concatenate(parts) for parts in zip(*found, strict=True))
        labels = np.repeat(np.arange(len(found)), [len(own) for _, own in found])
        best = np.argsort(-sums, kind="stable")[: self.detections]
        rows = (means[best], (sums / (1 + sums))[best], labels[best], np.ones(len(best), bool))
        return tuple(_padded(values, self.detections) for values in rows)

    def _of_class(self, boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Boxes [g, 4] float32 xyxy and summed scores [g] float32."""
        corners = np.rint(boxes[scores > 0]).astype(np.int64)
        sides = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
        means, _, group = grouped(sides, self.neighbours, self.tolerance)
        kept = group >= 0
        sums = np.bincount(group[kept], scores[scores > 0][kept], minlength=len(means))
        ends = np.concatenate([means[:, :2], means[:, :2] + means[:, 2:]], axis=1)
        return ends.astype(np.float32), sums.astype(np.float32)


def _padded(values: np.ndarray, count: int) -> np.ndarray:
    """Rows [count, ...], zeros after those that there are."""
    padded = np.zeros((count, *values.shape[1:]), values.dtype)
    padded[: len(values)] = values
    return padded


def grouped(boxes: np.ndarray, neighbours: int = 3, tolerance: float = 0.2) -> Groups:
    """Means of windows that are alike, where there are more of them than `neighbours`.

    Two windows are alike if no side of theirs lies further apart than `tolerance` times the mean of
    the smaller width and the smaller height; alike are also those that others link. A group inside
    a larger one (of more than 3 members) is dropped, and so is one of less than 3.

    Args:
        boxes: [n, 4] int64, x, y, width and height.
        neighbours: 0: each window is a group of its own.
    """
    if neighbours == 0 or not len(boxes):
        return Groups(boxes, np.ones(len(boxes), np.int64), np.arange(len(boxes)))
    group = _linked(boxes, tolerance)
    counts = np.bincount(group)
    sums = np.stack([np.bincount(group, side) for side in boxes.T], axis=-1)
    share = np.float32(1) / counts.astype(np.float32)
    means = np.rint(sums.astype(np.float32) * share[:, None]).astype(np.int64)
    (kept,) = (counts > neighbours).nonzero()
    kept = kept[~_within_larger(means[kept], counts[kept], tolerance)]
    renumbered = np.full(len(counts), -1)
    renumbered[kept] = np.arange(len(kept))
    return Groups(means[kept], counts[kept], renumbered[group])


def _linked(boxes: np.ndarray, tolerance: float) -> np.ndarray:
    """The group [n] of each window, numbered as they first come."""
    sides = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    pairs = [_alike(sides[i], boxes[i], sides, boxes, tolerance) for i in range(len(boxes))]
    starts = np.cumsum([0] + [len(pair) for pair in pairs])
    links = csr_array((np.ones(starts[-1], bool), np.concatenate(pairs), starts))
    _, group = csgraph.connected_components(links, directed=False)
    _, first, number = np.unique(group, return_index=True, return_inverse=True)
    return first.argsort().argsort()[number]


def _alike(
    side: np.ndarray, box: np.ndarray, sides: np.ndarray, boxes: np.ndarray, tolerance: float
) -> np.ndarray:
    """Rows of the windows that one is like; itself among them."""
    smaller = np.minimum(box[2:], boxes[:, 2:]).sum(axis=1)
    apart = np.abs(sides - side).max(axis=1)
    return (apart <= tolerance * smaller * 0.5).nonzero()[0]


def _within_larger(boxes: np.ndarray, counts: np.ndarray, tolerance: float) -> np.ndarray:
    """[g] bool: whether the group lies inside another one that outweighs it."""
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    slack = np.rint(boxes[:, 2:] * tolerance)
    inside = (low[:, None] >= low - slack).all(-1) & (high[:, None] <= high + slack).all(-1)
    np.fill_diagonal(inside, False)
    outweighed = (counts > np.maximum(3, counts[:, None])) | (counts[:, None] < 3)
    return (inside & outweighed).any(axis=1)
