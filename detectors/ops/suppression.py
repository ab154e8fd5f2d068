"""Non-maximum suppression of ranked candidates: static shapes in, static shapes out.

Suppression is a relation, "i removes j", and a number of rounds. Run to its fixed point a relation
gives the greedy result: a candidate stays if none that stays removes it. The number of rounds
depends on the data, so they run in a custom operator, one node to `torch.compile` and
`torch.export`.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from detectors.ops.boxes import aligned_iou, center_distance, pairwise_iou

BLOCK = 256  # ranked boxes that are settled together
Decay = Callable[[Tensor], Tensor]  # IoU to the factor that a score is multiplied with


def one_round(relation: Tensor, alive: Tensor) -> Tensor:
    """Candidates [B, K] that none of `alive` [B, K] removes; `relation` [B, K, K]: i removes j."""
    return ~(relation & alive[:, :, None]).any(dim=1)


@torch.library.custom_op("detectors::fixed_point", mutates_args=())
def fixed_point(relation: Tensor, valid: Tensor) -> Tensor:
    """Candidates that remain when only those that remain may remove others.

    Args:
        relation: [B, K, K] bool, i removes j; only true where i ranks above j.
        valid: [B, K] bool; the others neither remove nor remain.

    Returns:
        [B, K] bool, the result of greedy suppression in rank order.
    """
    keep = valid.clone()
    while True:  # settles at least the best unsettled candidate each round: at most K rounds
        following = one_round(relation, keep) & valid
        if torch.equal(following, keep):
            return following
        keep = following


@fixed_point.register_fake
def _(relation: Tensor, valid: Tensor) -> Tensor:
    return torch.empty_like(valid)


@torch.library.custom_op("detectors::greedy_iou", mutates_args=())
def greedy_iou(boxes: Tensor, groups: Tensor, valid: Tensor, threshold: float) -> Tensor:
    """Greedy suppression of ranked boxes by IoU above `threshold`, group by group.

    The same result as `fixed_point` on the IoU relation, without the [K, K] matrix: torchvision's
    sequential kernel, image by image and group by group.

    Args:
        boxes: [B, K, 4] xyxy, scores falling.
        groups: [B, K] int; boxes of different groups never meet.
        valid: [B, K] bool.
        threshold: IoU above which the lower ranked box goes.

    Returns:
        [B, K] bool.
    """
    from torchvision.ops import nms  # two thirds of the time that importing this package takes

    keep = torch.zeros_like(valid)
    falling = torch.arange(valid.shape[1], 0, -1, device=boxes.device, dtype=boxes.dtype)
    for image, rows in _members(groups, valid):
        best = nms(boxes[image, rows], falling[: len(rows)], threshold)
        keep[image].index_fill_(0, rows[best], True)
    return keep


def _members(groups: Tensor, valid: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The rows of each group of each image, ranks falling."""
    for image in range(len(groups)):
        (rows,) = valid[image].nonzero(as_tuple=True)
        group, order = groups[image, rows].sort(stable=True)
        counts = group.unique_consecutive(return_counts=True)[1].tolist()
        for own in rows[order].split(counts):
            yield image, own


@greedy_iou.register_fake
def _(boxes: Tensor, groups: Tensor, valid: Tensor, threshold: float) -> Tensor:
    return torch.empty_like(valid)


def too_near(boxes: Tensor, threshold: float, beta: float) -> Tensor:
    """Pairs of boxes [K, 4] with `IoU - (d^2 / c^2)^beta > threshold`, [K, K] bool.

    d is the distance of the centres, c the diagonal of the hull (Zheng et al. 2020).
    """
    distance = center_distance(boxes[:, None], boxes[None])
    return pairwise_iou(boxes, boxes) - distance.pow(beta) > threshold


@torch.library.custom_op("detectors::greedy_diou", mutates_args=())
def greedy_diou(
    boxes: Tensor, groups: Tensor, valid: Tensor, threshold: float, beta: float
) -> Tensor:
    """Greedy suppression of ranked boxes that are `too_near`, group by group.

    The same result as `fixed_point` on that relation between all boxes, but only boxes of one group
    are compared, and of these only those that are left with the best that stay, block by block.

    Args:
        boxes, groups, valid: as `greedy_iou`.
        threshold, beta: as `too_near`.

    Returns:
        [B, K] bool.
    """
    keep = torch.zeros_like(valid)
    for image, rows in _members(groups, valid):
        own = boxes[image]
        while len(rows):
            best, rows = rows[:BLOCK], rows[BLOCK:]
            relation = _too_near(own[best], own[best], threshold, beta).triu(1)
            best = best[
                fixed_point(relation[None], torch.ones_like(best, dtype=torch.bool)[None])[0]
            ]
            keep[image].index_fill_(0, best, True)
            if len(rows):
                rows = rows[~_too_near(own[best], own[rows], threshold, beta).any(dim=0)]
    return keep


def _too_near(a: Tensor, b: Tensor, threshold: float, beta: float) -> Tensor:
    """`too_near` between boxes [K, 4] and [N, 4], with distances where the IoU is large enough."""
    relation = pairwise_iou(a, b) > threshold
    first, second = relation.nonzero(as_tuple=True)
    apart = center_distance(a[first], b[second]).pow(beta)
    relation[first, second] = aligned_iou(a[first], b[second]) - apart > threshold
    return relation


@greedy_diou.register_fake
def _(boxes: Tensor, groups: Tensor, valid: Tensor, threshold: float, beta: float) -> Tensor:
    return torch.empty_like(valid)


def linear(iou: Tensor, threshold: float) -> Tensor:
    """Factor `1 - IoU` from `threshold` on (Bodla et al. 2017, sec. 3; SOLOv2, with 0)."""
    return torch.where(iou >= threshold, 1 - iou, 1.0)


def gaussian(iou: Tensor, sigma: float) -> Tensor:
    """Factor `exp(-IoU^2 / sigma)` (Bodla et al. 2017, sec. 3; SOLOv2, "Matrix NMS")."""
    return (-iou.square() / sigma).exp()


def soft_scores(boxes: Tensor, scores: Tensor, groups: Tensor, decay: Decay) -> Tensor:
    """Scores [B, K] lowered by Soft-NMS (Bodla et al. 2017, Alg. 1).

    Each box, from the best on, lowers the scores of the boxes of its group that overlap it. Images
    are taken one by one, which saves memory. The release's IoU counts a pixel more on each side
    (`lib/nms/cpu_nms.pyx`), since its boxes are of whole pixels; ours is that of the boxes.

    Args:
        boxes: [B, K, 4], in any order.
        scores: [B, K]; boxes that score nothing do nothing.
        groups: [B, K] int; boxes of different groups never meet.
        decay: `linear` or `gaussian`.
    """
    images = zip(boxes, scores, groups, strict=True)
    return torch.stack([decayed(_factors(b, g, decay), s) for b, s, g in images])


def _factors(boxes: Tensor, groups: Tensor, decay: Decay) -> Tensor:
    """Factors [K, K] by which each box [K, 4] multiplies the score of each other box."""
    same = groups[:, None] == groups[None]
    return torch.where(same, decay(pairwise_iou(boxes, boxes)), 1.0)


@torch.library.custom_op("detectors::decayed", mutates_args=())
def decayed(factors: Tensor, scores: Tensor) -> Tensor:
    """Scores [K] lowered one after the other: the best one left multiplies all others left.

    Args:
        factors: [K, K], of row i on column j.
        scores: [K].
    """
    scores, waiting = scores.clone(), scores > 0
    for _ in range(int(waiting.sum())):
        best = torch.where(waiting, scores, -1.0).argmax().view(1)
        waiting = waiting.index_fill(0, best, False)
        scores = torch.where(waiting, scores * factors.index_select(0, best)[0], scores)
    return scores


@decayed.register_fake
def _(factors: Tensor, scores: Tensor) -> Tensor:
    return torch.empty_like(scores)


def matrix_factors(boxes: Tensor, groups: Tensor, decay: Decay) -> Tensor:
    """Factors [B, K] for the scores by Matrix NMS (SOLOv2, Wang et al. 2020).

    The least, over the better boxes of its group, of `decay` of the overlap with that one over
    `decay` of that one's largest overlap with a better one; at most 1.

    Args:
        boxes: [B, K, 4], scores falling.
        groups: [B, K] int; boxes of different groups never meet.
        decay: `linear` with threshold 0, or `gaussian`.
    """
    images = zip(boxes, groups, strict=True)
    return torch.stack([_matrix_factors(b, g, decay) for b, g in images])


def _matrix_factors(boxes: Tensor, groups: Tensor, decay: Decay) -> Tensor:
    rank = torch.arange(len(boxes), device=boxes.device)
    above = (groups[:, None] == groups[None]) & (rank[:, None] < rank[None])
    iou = torch.where(above, pairwise_iou(boxes, boxes), 0.0)
    compensation = decay(iou.amax(0)).clamp(min=1e-12)  # a copy of a better box compensates nothing
    factors = decay(iou) / compensation[:, None]
    return torch.where(above, factors, 1.0).amin(0).clamp(max=1.0)


def voted(boxes: Tensor, groups: Tensor, valid: Tensor, deviations: Tensor, sigma: float) -> Tensor:
    """Boxes [K, 4] as means of those of their group that overlap them, themselves among these.

    He et al. 2019, "Bounding Box Regression with Uncertainty", sec. 3.3: each side is weighted by
    `exp(-(1 - IoU)^2 / sigma) / deviation^2`.

    Args:
        boxes: [K, 4].
        groups: [K] int; boxes of different groups never meet.
        valid: [K] bool; the others neither vote nor change.
        deviations: [K, 4] of the sides.
        sigma: of the overlap.
    """
    iou = pairwise_iou(boxes, boxes)
    voters = (groups[:, None] == groups[None]) & valid & (iou > 0)
    near = torch.where(voters, (-(1 - iou).square() / sigma).exp(), 0.0)
    sure = 1 / deviations.clamp(min=1e-9).square()
    mean = (near @ (boxes * sure)) / (near @ sure).clamp(min=1e-30)
    # A box without area overlaps nothing, not even itself.
    return torch.where((valid & voters.any(1))[:, None], mean, boxes)


@torch.library.custom_op("detectors::fused", mutates_args=())
def fused(
    boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Clusters of boxes, each at the row of its first member.

    Weighted boxes fusion, Solovyev et al. 2019, sec. 3, steps 1 to 5: from the best box on each
    joins the cluster of its group whose fused box it overlaps most, if by more than `threshold`, or
    starts one. A fused box is the mean of its members weighted by their scores.

    Args:
        boxes: [K, 4], scores falling.
        scores: [K], above 0 where valid.
        groups: [K] int; boxes of different groups never meet.
        valid: [K] bool.

    Returns:
        Fused boxes [K, 4], mean scores [K] and number of members [K]; 0 where no cluster begins.
    """
    means, sums = boxes.clone(), torch.zeros_like(boxes)
    weight, members = torch.zeros_like(scores), torch.zeros_like(groups)
    for row in valid.nonzero().flatten().tolist():
        joinable = (members > 0) & (groups == groups[row])
        near = aligned_iou(means, boxes[row]).masked_fill(~joinable, -1.0)
        best = int(near.argmax())
        place = best if near[best] > threshold else row
        sums[place] += scores[row] * boxes[row]
        weight[place] += scores[row]
        members[place] += 1
        means[place] = sums[place] / weight[place]
    return means, weight / members.clamp(min=1), members


@fused.register_fake
def _(
    boxes: Tensor, scores: Tensor, groups: Tensor, valid: Tensor, threshold: float
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(boxes), torch.empty_like(scores), torch.empty_like(groups)
