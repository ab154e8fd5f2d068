"""PAA: an object's priors are told apart by a mixture of two Gaussians on their losses."""

import math

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.costs import focal_costs
from detectors.assigners.max_iou import forced_matches
from detectors.assigners.prior_boxes import prior_boxes
from detectors.assigners.ties import assignable
from detectors.contracts import check_contract
from detectors.ops.boxes import aligned_iou, pairwise_iou
from detectors.ops.selection import gather_rows
from detectors.ranges import Count, Inner, Positive, Share, Weight
from detectors.scores import Score
from detectors.structures import Assignment, Predictions, Targets


class PAA(Assigner):
    """Priors whose loss belongs to the lower of two Gaussians (Kim and Lee 2020, sec. 3.1, Alg. 1).

    A prior is a candidate of the object it overlaps most, if by `overlap` or as much as any prior
    overlaps that object; of each level the `k` of least loss remain. The loss is the focal loss of
    the class scores plus one minus the GIoU of what is predicted. A mixture of two Gaussians in
    one dimension is fitted to the losses of the object's candidates; positive are those up to the
    most likely one of the lower component, as in the release, or all of them where that has none.
    Nothing is ignored.

    The mixture starts at the least and the largest loss with variances of one and equal weights and
    is fitted in double precision until the mean log-likelihood changes by less than 1e-3, as in the
    release, whose limit is 100 steps of expectation and maximisation. All objects take as many
    steps; those of which nothing moves any more stay as they are.

    Args:
        score: of classes, as the detector ranks by it.
        overlap: least IoU of a candidate.
        k: candidates of each level.
        steps: of expectation and maximisation at most.
        alpha, gamma: of the focal loss.
        point_side: strides of the square that a point stands for.
    """

    score: Score

    def __init__(
        self,
        score: Score,
        overlap: Share = 0.1,
        k: Count = 9,
        steps: Count = 50,
        alpha: Inner = 0.25,
        gamma: Weight = 2.0,
        point_side: Positive = 8.0,
    ) -> None:
        super().__init__()
        check_contract(score, Score)
        self.score, self.overlap, self.k, self.steps = score, overlap, k, steps
        self.alpha, self.gamma, self.point_side = alpha, gamma, point_side

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        priors = predictions.priors
        iou = pairwise_iou(targets.boxes, prior_boxes(priors, self.point_side))
        iou = iou.masked_fill(~assignable(targets)[:, :, None], -1.0)
        best, owner = iou.max(dim=1)
        owned = (best >= self.overlap) | forced_matches(iou)  # [B, N]
        cost = self._cost(predictions, boxes, targets, owner)
        rows = torch.arange(iou.shape[1], device=iou.device)[:, None]
        candidate = owned[:, None] & (owner[:, None] == rows)
        loss, prior = self._lowest(cost, candidate, priors.level_sizes)
        chosen = below_peak(loss, self.steps).float().flatten(1)
        positive = torch.zeros_like(cost).scatter_reduce(1, prior.flatten(1), chosen, "amax") > 0
        return Assignment(owner * positive, positive, torch.zeros_like(positive))

    def _cost(
        self, predictions: Predictions, boxes: Tensor, targets: Targets, owner: Tensor
    ) -> Tensor:
        """Loss of each prior beside its object, [B, N]."""
        scores = self.score(predictions.logits, predictions.quality)
        affirm, deny = focal_costs(scores, self.alpha, self.gamma)
        label = targets.labels.gather(1, owner)[..., None]
        of_class = deny.sum(-1) + (affirm - deny).gather(2, label).squeeze(-1)
        return of_class + 1 - aligned_iou(boxes, gather_rows(targets.boxes, owner), "giou")

    def _lowest(
        self, cost: Tensor, candidate: Tensor, sizes: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Losses of the candidates that remain and their priors, [B, M, K]; inf where none is.

        Args:
            cost: [B, N].
            candidate: [B, M, N].
            sizes: priors of each level.
        """
        ranked = cost[:, None].masked_fill(~candidate, torch.inf)
        starts = [sum(sizes[:level]) for level in range(len(sizes))]
        found = [
            (values, index + start)
            for start, size in zip(starts, sizes, strict=True)
            for values, index in [
                ranked[..., start : start + size].topk(min(self.k, size), largest=False)
            ]
        ]
        losses, priors = zip(*found, strict=True)
        return torch.cat(losses, dim=2), torch.cat(priors, dim=2)


def below_peak(loss: Tensor, steps: int) -> Tensor:
    """Values up to the most likely one of the lower Gaussian, [..., K] bool.

    Args:
        loss: [..., K]; inf where there is none.
        steps: of expectation and maximisation at most.
    """
    real = loss < torch.inf
    values = torch.where(real, loss, 0.0).double()
    logs = fitted(values, real, steps)
    lower = real & (logs[..., 0, :] >= logs[..., 1, :])
    likely = torch.where(lower, logs.logsumexp(-2), -torch.inf)
    peak = lower & (likely == likely.amax(-1, keepdim=True))
    limit = torch.where(peak, values, torch.inf).amin(-1, keepdim=True)
    return real & (values <= limit)  # without a lower one the limit is infinite


TOLERANCE = 1e-3  # scikit-learn's, of the mean log-likelihood


def fitted(values: Tensor, real: Tensor, steps: int) -> Tensor:
    """Log-densities [..., 2, K] of values [..., K] in two weighted Gaussians fitted to them.

    The first starts at the least value. As in scikit-learn, whose `GaussianMixture` the release
    calls, variances are raised by 1e-6, and the step that finds itself within the tolerance is
    still taken.
    """
    ends = (
        torch.where(real, values, torch.inf).amin(-1),
        torch.where(real, values, -torch.inf).amax(-1),
    )
    mean = torch.stack(ends, dim=-1)[..., None].nan_to_num(0.0, 0.0, 0.0)
    variance, weight = torch.ones_like(mean), torch.full_like(mean, 0.5)
    values, real = values[..., None, :], real[..., None, :]
    count = real.sum(-1, keepdim=True).clamp(min=1)
    likelihood = torch.full_like(mean[..., :1, :], -torch.inf)
    moving = torch.ones_like(likelihood, dtype=torch.bool)
    for _ in range(steps):
        logs = _log_density(values, mean, variance, weight)
        before, likelihood = likelihood, _mean(logs.logsumexp(-2, keepdim=True), real, count)
        following = _maximised(values, logs.softmax(-2) * real, count)
        mean, variance, weight = (
            torch.where(moving, new, old)
            for new, old in zip(following, (mean, variance, weight), strict=True)
        )
        moving = moving & ((likelihood - before).abs() >= TOLERANCE)
    return _log_density(values, mean, variance, weight)


def _mean(values: Tensor, real: Tensor, count: Tensor) -> Tensor:
    return torch.where(real, values, 0.0).sum(-1, keepdim=True) / count


def _maximised(values: Tensor, share: Tensor, count: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Means, variances and weights [..., 2, 1] of values [..., 1, K] shared out by [..., 2, K]."""
    size = share.sum(-1, keepdim=True) + 10 * torch.finfo(share.dtype).eps
    mean = (share * values).sum(-1, keepdim=True) / size
    variance = (share * (values - mean).square()).sum(-1, keepdim=True) / size + 1e-6
    return mean, variance, size / count


def _log_density(values: Tensor, mean: Tensor, variance: Tensor, weight: Tensor) -> Tensor:
    distance = (values - mean).square() / variance
    return weight.log() - (distance + variance.log() + math.log(2 * math.pi)) / 2
