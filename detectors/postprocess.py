"""Turns candidates into detections: rank, suppress, keep the best. Batched, static shapes."""

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import Annotated, NamedTuple

import torch
from torch import Tensor, nn

from detectors.ops.boxes import centers, clip, pairwise_iou, sides
from detectors.ops.selection import gather_rows
from detectors.ops.suppression import (
    Decay,
    fixed_point,
    fused,
    greedy_diou,
    greedy_iou,
    matrix_factors,
    one_round,
    soft_scores,
    too_near,
    voted,
)
from detectors.ranges import Count, Positive, Share, Weight
from detectors.structures import Candidates, Detections, Priors


class Ranked(NamedTuple):
    """The best (prior, class) pairs of each image, scores falling."""

    boxes: Tensor  # [B, K, 4]
    scores: Tensor  # [B, K]
    labels: Tensor  # [B, K] int64
    valid: Tensor  # [B, K] bool
    prior: Tensor  # [B, K] int64, index into priors
    priors: Priors
    deviations: Tensor | None = None  # [B, K, 4] of each side, where these are predicted
    iou: Tensor | None = None  # [B, K] predicted with the object, likewise


class PostProcess(nn.Module, ABC):
    """Makes detections of candidates."""

    detections: Annotated[int | None, "most of an image; None: unknown"] = None

    @abstractmethod
    def forward(self, candidates: Candidates, frames: Tensor) -> Detections:
        """Detections, their boxes clipped to the frames.

        Args:
            candidates: of every prior.
            frames: [B, 4] xyxy, the part of the canvas that each picture fills.
        """


class Suppressor(nn.Module, ABC):
    """Removes ranked pairs that repeat better ones."""

    @abstractmethod
    def forward(self, ranked: Ranked) -> Ranked:
        """As many rows in the same order; fewer are valid, and boxes and scores may be others."""


class Suppression(PostProcess):
    """Threshold, best pairs per level, suppression, best detections.

    Args:
        suppressor: removes pairs that repeat better ones.
        score_threshold: pairs need a higher score.
        per_level: pairs kept of each feature level before suppression.
        detections: most detections of an image.
        smallest: boxes with a shorter side, in pixels, are dropped before the suppression.
        clip_first: whether boxes are clipped before the suppression, as in torchvision; else it
            compares whole boxes, as in darknet, and the detections are clipped.
        one_class: whether only the best class of a prior counts, as in YOLOX.
    """

    detections: int

    def __init__(
        self,
        suppressor: Suppressor,
        score_threshold: Share,
        per_level: Count,
        detections: Count,
        smallest: Weight = 0.0,
        clip_first: bool = True,
        one_class: bool = False,
    ) -> None:
        super().__init__()
        self.suppressor, self.one_class = suppressor, one_class
        self.score_threshold, self.smallest = score_threshold, smallest
        self.per_level, self.detections = per_level, detections
        self.clip_first = clip_first

    @torch.no_grad()
    def forward(self, candidates: Candidates, frames: Tensor) -> Detections:
        """Detections of candidates, boxes clipped to `frames` [B, 4]."""
        return _best(self.suppressor(self.rank(candidates, frames)), self.detections, frames)

    def rank(self, candidates: Candidates, frames: Tensor) -> Ranked:
        """The best `per_level` (prior, class) pairs of each level, merged and sorted by score."""
        boxes, scores, priors, deviations, iou = candidates
        if self.one_class:
            scores = _of_best_class(scores)
        classes = scores.shape[-1]
        best, pairs, start = [], [], 0
        for size in priors.level_sizes:
            top, pair = top_pairs(scores[:, start : start + size], self.per_level)
            best.append(top)
            pairs.append(pair + start * classes)
            start += size
        merged, order = _stable_top(torch.cat(best, 1), sum(level.shape[1] for level in best))
        pair = torch.cat(pairs, 1).gather(1, order)
        prior, labels = pair // classes, pair % classes
        ranked = _of_pairs(boxes, prior, pair)
        unsure = None if deviations is None else _of_pairs(deviations, prior, pair)
        if self.clip_first:
            ranked = clip(ranked, frames[:, None])
        valid = (merged > self.score_threshold) & (sides(ranked) >= self.smallest).all(-1)
        fit = None if iou is None else iou.gather(1, prior)
        return Ranked(ranked, merged, labels, valid, prior, priors, unsure, fit)


def _of_best_class(scores: Tensor) -> Tensor:
    """Scores [B, N, C], zero for all classes of a prior but its best one."""
    classes = torch.arange(scores.shape[-1], device=scores.device)
    return scores.masked_fill(classes != scores.argmax(-1, keepdim=True), 0.0)


def _of_pairs(values: Tensor, prior: Tensor, pair: Tensor) -> Tensor:
    """Rows [B, K, 4] of values [B, N, 4], or of a class-specific head's [B, N, C, 4]."""
    if values.dim() == 4:  # a box per pair, not per prior
        return gather_rows(values.flatten(1, 2), pair)
    return gather_rows(values, prior)


def top_pairs(scores: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The best (prior, class) pairs of `scores` [B, N, C] and their indices `prior * C + class`.

    They lie on as many priors at most, those whose best class scores highest: a search of N and
    `most` C numbers instead of N C.
    """
    count, classes = scores.shape[1:]
    _, priors = scores.amax(-1).topk(min(most, count), dim=1)
    top, index = gather_rows(scores, priors).flatten(1).topk(min(most, count * classes), dim=1)
    return top, priors.gather(1, index // classes) * classes + index % classes


class SuppressionByClass(PostProcess):
    """Threshold, best priors per class, suppression within each, best detections (SSD, sec. 3.7).

    Args:
        suppressor, score_threshold, clip_first: as `Suppression`.
        per_class: priors kept of each class before suppression.
        detections: most of an image; None: all that are left of each class.
        of_class: most of a class in an image; None: as many as are left.
    """

    def __init__(
        self,
        suppressor: Suppressor,
        score_threshold: Share,
        per_class: Count,
        detections: Count | None,
        clip_first: bool = True,
        of_class: Count | None = None,
    ) -> None:
        super().__init__()
        self.suppressor, self.score_threshold = suppressor, score_threshold
        self.per_class, self.detections = per_class, detections
        self.clip_first, self.of_class = clip_first, of_class

    @torch.no_grad()
    def forward(self, candidates: Candidates, frames: Tensor) -> Detections:
        """Detections of candidates, boxes clipped to `frames` [B, 4]."""
        batch = candidates.boxes.shape[0]  # `len` would fix it in an exported graph
        left = self.suppressor(self.rank(candidates, frames))
        fields = left[:5] if self.of_class is None else _highest(left, self.of_class)
        by_image = [field.reshape(batch, -1, *field.shape[2:]) for field in fields]
        every = by_image[1].shape[1]
        ranked = Ranked._make((*by_image, left.priors, None, None))
        return _best(ranked, every if self.detections is None else self.detections, frames)

    def rank(self, candidates: Candidates, frames: Tensor) -> Ranked:
        """The best `per_class` priors of each class, every class a row of its own, [B C, K]."""
        boxes, scores, priors, deviations, iou = candidates
        classes = scores.shape[-1]
        by_class = scores.transpose(1, 2).flatten(0, 1)
        best, prior = by_class.topk(min(self.per_class, scores.shape[1]), dim=1)
        ranked = _of_classes(boxes, prior)
        unsure = None if deviations is None else _of_classes(deviations, prior)
        if self.clip_first:
            ranked = clip(ranked, frames.repeat_interleave(classes, 0)[:, None])
        labels = torch.arange(classes, device=scores.device).repeat(boxes.shape[0])
        labels = labels[:, None].expand_as(prior)
        fit = None if iou is None else iou.repeat_interleave(classes, 0).gather(1, prior)
        valid = best > self.score_threshold
        return Ranked(ranked, best, labels, valid, prior, priors, unsure, fit)


def _of_classes(values: Tensor, prior: Tensor) -> Tensor:
    """Rows [B C, K, 4] of values [B, N, 4], or of a class-specific head's [B, N, C, 4]."""
    if values.dim() == 4:
        return gather_rows(values.transpose(1, 2).flatten(0, 1), prior)
    return gather_rows(values, prior.view(values.shape[0], -1)).view(*prior.shape, 4)


def _best(ranked: Ranked, detections: int, frames: Tensor) -> Detections:
    """The highest scores among the valid ones, boxes clipped."""
    kept = ranked.scores.masked_fill(~ranked.valid, -1.0)
    best, index = _stable_top(kept, min(detections, kept.shape[1]))
    valid = ranked.valid.gather(1, index)
    return Detections(
        boxes=clip(gather_rows(ranked.boxes, index), frames[:, None]),
        scores=best.masked_fill(~valid, 0.0),
        labels=ranked.labels.gather(1, index),
        valid=valid,
    )


def _highest(ranked: Ranked, count: int) -> tuple[Tensor, ...]:
    """The first five fields of the `count` highest valid scores of each row."""
    kept = ranked.scores.masked_fill(~ranked.valid, -1.0)
    _, index = _stable_top(kept, count)
    boxes, *others = ranked[:5]
    return gather_rows(boxes, index), *(field.gather(1, index) for field in others)


def _stable_top(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest of each row [B, N]; equal scores keep their order."""
    values, index = scores.sort(dim=1, descending=True, stable=True)
    return values[:, :count], index[:, :count]


class Greedy(Suppressor):
    """Greedy non-maximum suppression by IoU, class by class (or level by level).

    Args:
        threshold: IoU above which the lower score goes.
        within: "label", or "level" for the proposals of a pyramid (FPN, sec. 4.1).
    """

    def __init__(self, threshold: Share, within: str = "label") -> None:
        super().__init__()
        if within not in ("label", "level"):
            raise ValueError(f"within is {within!r}, expected 'label' or 'level'")
        self.threshold, self.within = threshold, within

    def forward(self, ranked: Ranked) -> Ranked:
        """The same rows; those that stay are valid."""
        groups = ranked.labels if self.within == "label" else _levels(ranked)
        if ranked.boxes.is_cuda:  # a matrix in parallel beats a sequential kernel that syncs
            relation = pairwise_iou(ranked.boxes, ranked.boxes) > self.threshold
            keep = fixed_point(relation & _higher(groups), ranked.valid)
        else:
            keep = greedy_iou(ranked.boxes, groups, ranked.valid, self.threshold)
        return ranked._replace(valid=keep)


class DIoU(Suppressor):
    """Greedy suppression by IoU less a power of the centres' distance, class by class.

    The lower score goes where `IoU - (d^2 / c^2)^beta > threshold`, d the distance of the centres,
    c the diagonal of the hull: boxes far from the winner's centre stay.

    Args:
        threshold: of the difference.
        beta: 1 is DIoU-NMS (Zheng et al. 2020, "NMS using DIoU"); 0.6 is darknet's `greedynms`,
            and its `diounms` with `beta_nms=0.6` (`src/box.c`).
    """

    # As `lacking` of coders.
    lacking = MappingProxyType(
        {
            "suppressor": "it removes boxes itself, while voting goes around another suppressor "
            "that removes them: choose another postprocess, such as postprocess=nms, or leave the "
            "trick out",
            "decay": "it removes boxes by a threshold, while soft suppression lowers their scores "
            "without one: choose another postprocess, such as postprocess=nms, or leave the trick "
            "out",
        }
    )

    def __init__(self, threshold: Share, beta: Positive) -> None:
        super().__init__()
        self.threshold, self.beta = threshold, beta

    def forward(self, ranked: Ranked) -> Ranked:
        """The same rows; those that stay are valid."""
        boxes, labels, limits = ranked.boxes, ranked.labels, (self.threshold, self.beta)
        if boxes.is_cuda:  # as in `Greedy`; image by image saves memory
            near = torch.stack([too_near(image, *limits) for image in boxes])
            keep = fixed_point(near & _higher(labels), ranked.valid)
        else:
            keep = greedy_diou(boxes, labels, ranked.valid, *limits)
        return ranked._replace(valid=keep)


class Peaks(Suppressor):
    """Keeps cells that no neighbour of their class and level beats (CenterNet, sec. 4).

    The same as comparing the heat map with its 3 x 3 maximum: a better neighbour of a candidate
    ranks above it, so it is a candidate too. Of a heat map so broad that the best `per_level` pairs
    hold fewer than `detections` peaks, the weakest peaks are missing.
    """

    def forward(self, ranked: Ranked) -> Ranked:
        """The same rows; those that stay are valid."""
        cells = centers(ranked.priors.boxes)[0, ranked.prior] / ranked.priors.stride[
            ranked.prior
        ].unsqueeze(-1)
        near = ((cells[:, :, None] - cells[:, None]).abs() < 1.5).all(-1)
        beaten = near & (ranked.scores[:, :, None] > ranked.scores[:, None])
        maps = ranked.labels * len(ranked.priors.level_sizes) + _levels(ranked)
        keep = one_round(beaten & (maps[:, :, None] == maps[:, None]), ranked.valid)
        return ranked._replace(valid=keep & ranked.valid)


class Soft(Suppressor):
    """Soft-NMS: scores fall by the overlap with better boxes of their class (Bodla et al. 2017).

    Args:
        decay: `ops.suppression.linear` or `gaussian`.
        least: candidates whose score falls below it go; 0.001 in the release.
    """

    def __init__(self, decay: Decay, least: Share) -> None:
        super().__init__()
        self.decay, self.least = decay, least

    def forward(self, ranked: Ranked) -> Ranked:
        """The same rows with other scores, which need not fall any more."""
        scores = soft_scores(ranked.boxes, ranked.scores * ranked.valid, ranked.labels, self.decay)
        return ranked._replace(scores=scores, valid=ranked.valid & (scores >= self.least))


class Matrix(Suppressor):
    """All scores fall at once by IoU: the "Matrix NMS" of SOLOv2 (Wang et al. 2020), on boxes.

    Args:
        decay: `ops.suppression.linear` with threshold 0, or `gaussian`.
        least: candidates whose score falls below it go.
    """

    def __init__(self, decay: Decay, least: Share) -> None:
        super().__init__()
        self.decay, self.least = decay, least

    def forward(self, ranked: Ranked) -> Ranked:
        """The same rows with other scores, which need not fall any more."""
        boxes = ranked.boxes * ranked.valid[..., None]  # without area they overlap nothing
        scores = ranked.scores * matrix_factors(boxes, ranked.labels, self.decay)
        return ranked._replace(scores=scores, valid=ranked.valid & (scores >= self.least))


class Fusion(Suppressor):
    """Weighted boxes fusion: near boxes of a class become their mean.

    Solovyev et al. 2019, sec. 3. Scores become the mean of those fused, times
    `min(members, models) / models` (step 6).

    Args:
        threshold: IoU with the mean above which a box joins.
        models: how many voted; 1 leaves the mean score.
    """

    def __init__(self, threshold: Share, models: Count = 1) -> None:
        super().__init__()
        self.threshold, self.models = threshold, models

    def forward(self, ranked: Ranked) -> Ranked:
        """One row for each cluster is valid, with its mean box and score."""
        images = zip(ranked.boxes, ranked.scores, ranked.labels, ranked.valid, strict=True)
        found = [fused(*image, self.threshold) for image in images]
        boxes, scores, members = map(torch.stack, zip(*found, strict=True))
        share = members.clamp(max=self.models) / self.models
        return ranked._replace(boxes=boxes, scores=scores * share, valid=members > 0)


class ScoreVoting(Suppressor):
    """Boxes that another suppressor leaves become means of all that they overlap (PAA, sec. 3.3).

    Those of the same class whose IoU is above `overlap` vote, with their scores times
    `exp(-(1 - IoU)^2 / sigma)` (Kim and Lee 2020, "Score Voting"); scores stay. All candidates
    vote, also those that were suppressed.

    Args:
        suppressor: what leaves the boxes.
        sigma, overlap: 0.025 and 0.01 in the release's inference.py.
        most: boxes of an image that are voted on, the best ones; the others stay as they are.
    """

    def __init__(
        self,
        suppressor: Suppressor,
        sigma: Positive = 0.025,
        overlap: Share = 0.01,
        most: Count = 100,
    ) -> None:
        super().__init__()
        self.suppressor, self.most = suppressor, most
        self.sigma, self.overlap = sigma, overlap

    def forward(self, ranked: Ranked) -> Ranked:
        """The same rows, other boxes."""
        left = self.suppressor(ranked)
        standing = left.scores.masked_fill(~left.valid, -1.0)
        _, rows = _stable_top(standing, min(self.most, standing.shape[1]))
        means = self._means(gather_rows(left.boxes, rows), left.labels.gather(1, rows), ranked)
        boxes = left.boxes.scatter(1, rows[..., None].expand_as(means), means)
        return left._replace(boxes=torch.where(left.valid[..., None], boxes, left.boxes))

    def _means(self, boxes: Tensor, labels: Tensor, ranked: Ranked) -> Tensor:
        """Means for boxes [B, m, 4] of labels [B, m]; a box that nothing overlaps stays."""
        iou = pairwise_iou(boxes, ranked.boxes)
        votes = (labels[:, :, None] == ranked.labels[:, None]) & (iou > self.overlap)
        votes = votes & ranked.valid[:, None]
        weights = (-(1 - iou).square() / self.sigma).exp() * ranked.scores[:, None] * votes
        total = weights.sum(-1)
        sums = [(weights * side[:, None]).sum(-1) for side in ranked.boxes.unbind(-1)]
        means = torch.stack(sums, dim=-1) / total.clamp(min=1e-30)[..., None]
        return torch.where((total > 1e-30)[..., None], means, boxes)


class IoUGuided(Suppressor):
    """Greedy suppression in the order of predicted IoU, class by class (Jiang et al. 2018, Alg. 1).

    The best lying box stays, scores as high as the best of those that it removes, and so on.

    Args:
        threshold: IoU above which the box that lies worse goes.
    """

    def __init__(self, threshold: Share) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, ranked: Ranked) -> Ranked:
        """The same rows; those that stay are valid, and may score higher.

        Raises:
            ValueError: no IoU is predicted.
        """
        if ranked.iou is None:
            raise ValueError(
                "IoUGuided ranks boxes by the IoU that is predicted of them, but none is: choose "
                "model=iou_net or head=iou_net"
            )
        order = ranked.iou.argsort(dim=1, descending=True, stable=True)
        boxes, labels = gather_rows(ranked.boxes, order), ranked.labels.gather(1, order)
        scores, valid = ranked.scores.gather(1, order), ranked.valid.gather(1, order)
        relation = (pairwise_iou(boxes, boxes) > self.threshold) & _higher(labels)
        keep = fixed_point(relation, valid)
        removed = relation & keep[:, :, None] & (valid & ~keep)[:, None]
        first = removed & (removed.cumsum(1) == 1)  # each goes with the best that removes it
        best = (first * scores[:, None]).amax(2).maximum(scores)
        back = order.argsort(1)
        return ranked._replace(scores=best.gather(1, back), valid=keep.gather(1, back))


class VarianceVoting(Suppressor):
    """Boxes that another suppressor leaves become means of all that overlap them in their class.

    He et al. 2019, "Bounding Box Regression with Uncertainty", sec. 3.3: each side is the mean of
    the sides of all ranked boxes, weighted by `exp(-(1 - IoU)^2 / sigma) / deviation^2`. In the
    release only boxes that come later in the order vote, from IoU 0.01 on, and the deviations of
    the top and the right side change places (`py_cpu_nms.py`, `soft`).

    Args:
        suppressor: which boxes are left, and their scores.
        sigma: the larger, the more boxes far away count; sigma_t in the paper.
    """

    def __init__(self, suppressor: Suppressor, sigma: Positive) -> None:
        super().__init__()
        self.suppressor, self.sigma = suppressor, sigma

    def forward(self, ranked: Ranked) -> Ranked:
        """The rows that the suppressor gives, with other boxes.

        Raises:
            ValueError: no deviations are predicted.
        """
        if ranked.deviations is None:
            raise ValueError(
                "VarianceVoting weighs boxes by how unsure their sides are, but no deviations are "
                "predicted: choose model=faster_rcnn_kl, or box_loss=kl and coder=gaussian_corners"
            )
        images = zip(ranked.boxes, ranked.labels, ranked.valid, ranked.deviations, strict=True)
        boxes = torch.stack([voted(*image, self.sigma) for image in images])
        return self.suppressor(ranked)._replace(boxes=boxes)


def _higher(groups: Tensor) -> Tensor:
    """Pairs (i, j) of one group with i ranked above j, [B, K, K] bool; `groups` is [B, K]."""
    rank = torch.arange(groups.shape[1], device=groups.device)
    return (groups[:, :, None] == groups[:, None]) & (rank[:, None] < rank[None])


def _levels(ranked: Ranked) -> Tensor:
    """Feature level of each candidate, [B, K] int64."""
    return ranked.priors.level[ranked.prior]
