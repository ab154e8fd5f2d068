"""From candidates to detections: rank, suppress, keep the best. Batched, static shapes."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from detectors.ops.boxes import centers, clip, pairwise_overlap, sides
from detectors.ops.selection import gather_rows
from detectors.ops.suppression import fixed_point, greedy_iou, one_round
from detectors.structures import Candidates, Detections, Priors


class Ranked(NamedTuple):
    """The best (prior, class) pairs of each image, scores falling."""

    boxes: Tensor  # [B, K, 4]
    scores: Tensor  # [B, K]
    labels: Tensor  # [B, K] int64
    valid: Tensor  # [B, K] bool
    prior: Tensor  # [B, K] int64, index into priors
    priors: Priors


class Suppression(nn.Module):
    """Threshold, best pairs per level, suppression, best detections.

    Args:
        suppressor: `(Ranked) -> keep [B, K] bool`.
        score_threshold: pairs need a higher score.
        per_level: pairs kept of each feature level before suppression.
        detections: most detections of an image.
        smallest: boxes with a shorter side, in pixels after clipping, are dropped.
    """

    def __init__(
        self,
        suppressor: nn.Module,
        score_threshold: float,
        per_level: int,
        detections: int,
        smallest: float = 0.0,
    ) -> None:
        super().__init__()
        self.suppressor = suppressor
        self.score_threshold, self.smallest = score_threshold, smallest
        self.per_level, self.detections = per_level, detections

    @torch.no_grad()
    def forward(self, candidates: Candidates, frames: Tensor) -> Detections:
        """Detections of candidates, boxes clipped to `frames` [B, 4]."""
        ranked = self.rank(candidates, frames)
        keep = self.suppressor(ranked) & ranked.valid
        best, index = _stable_top(
            ranked.scores.masked_fill(~keep, -1.0), min(self.detections, keep.shape[1])
        )
        valid = keep.gather(1, index)
        return Detections(
            boxes=gather_rows(ranked.boxes, index),
            scores=best.masked_fill(~valid, 0.0),
            labels=ranked.labels.gather(1, index),
            valid=valid,
        )

    def rank(self, candidates: Candidates, frames: Tensor) -> Ranked:
        """The best `per_level` (prior, class) pairs of each level, merged and sorted by score."""
        boxes, scores, priors = candidates
        classes = scores.shape[-1]
        best, pairs, start = [], [], 0
        for size in priors.level_sizes:
            top, pair = _top_pairs(scores[:, start : start + size], self.per_level)
            best.append(top)
            pairs.append(pair + start * classes)
            start += size
        merged, order = _stable_top(torch.cat(best, 1), sum(level.shape[1] for level in best))
        pair = torch.cat(pairs, 1).gather(1, order)
        prior, labels = pair // classes, pair % classes
        if boxes.dim() == 4:  # a class-specific head: a box per pair, not per prior
            ranked = gather_rows(boxes.flatten(1, 2), pair)
        else:
            ranked = gather_rows(boxes, prior)
        ranked = clip(ranked, frames[:, None])
        valid = (merged > self.score_threshold) & (sides(ranked) >= self.smallest).all(-1)
        return Ranked(ranked, merged, labels, valid, prior, priors)


def _top_pairs(scores: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The best (prior, class) pairs of `scores` [B, N, C] and their indices `prior * C + class`.

    They lie on as many priors at most, those whose best class scores highest: a search of N and
    `most` C numbers instead of N C.
    """
    count, classes = scores.shape[1:]
    _, priors = scores.amax(-1).topk(min(most, count), dim=1)
    top, index = gather_rows(scores, priors).flatten(1).topk(min(most, count * classes), dim=1)
    return top, priors.gather(1, index // classes) * classes + index % classes


def _stable_top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest of each row [B, N]; equal scores keep their order."""
    values, index = scores.sort(dim=1, descending=True, stable=True)
    return values[:, :count], index[:, :count]


class Greedy(nn.Module):
    """Greedy non-maximum suppression by IoU, class by class (or level by level).

    Args:
        threshold: IoU above which the lower score goes.
        within: "label", or "level" for the proposals of a pyramid (FPN, sec. 4.1).
    """

    def __init__(self, threshold: float, within: str = "label") -> None:
        super().__init__()
        if within not in ("label", "level"):
            raise ValueError(f"within is {within!r}, expected 'label' or 'level'")
        self.threshold, self.within = threshold, within

    def forward(self, ranked: Ranked) -> Tensor:
        """Candidates that stay, [B, K] bool."""
        groups = ranked.labels if self.within == "label" else _levels(ranked)
        if ranked.boxes.is_cuda:  # a matrix in parallel beats a sequential kernel that syncs
            relation = pairwise_overlap(ranked.boxes, ranked.boxes) > self.threshold
            return fixed_point(relation & _higher(groups), ranked.valid)
        return greedy_iou(ranked.boxes, groups, ranked.valid, self.threshold)


class Peaks(nn.Module):
    """A cell that no better neighbour of its class and level beats stays (CenterNet, sec. 4).

    The same as comparing the heat map with its 3 x 3 maximum: a better neighbour of a candidate
    ranks above it, so it is a candidate too. Of a heat map so broad that the best `per_level` pairs
    hold fewer than `detections` peaks, the weakest peaks are missing.
    """

    def forward(self, ranked: Ranked) -> Tensor:
        """Candidates that stay, [B, K] bool."""
        cells = centers(ranked.priors.boxes)[0, ranked.prior] / ranked.priors.stride[
            ranked.prior
        ].unsqueeze(-1)
        near = ((cells[:, :, None] - cells[:, None]).abs() < 1.5).all(-1)
        beaten = near & (ranked.scores[:, :, None] > ranked.scores[:, None])
        maps = ranked.labels * len(ranked.priors.level_sizes) + _levels(ranked)
        return one_round(beaten & (maps[:, :, None] == maps[:, None]), ranked.valid)


def _higher(groups: Tensor) -> Tensor:
    """Pairs (i, j) of one group with i ranked above j, [B, K, K] bool; `groups` is [B, K]."""
    rank = torch.arange(groups.shape[1], device=groups.device)
    return (groups[:, :, None] == groups[:, None]) & (rank[:, None] < rank[None])


def _levels(ranked: Ranked) -> Tensor:
    """Feature level of each candidate, [B, K] int64."""
    ends = torch.tensor(ranked.priors.level_sizes, device=ranked.prior.device).cumsum(0)
    return torch.bucketize(ranked.prior, ends, right=True)
