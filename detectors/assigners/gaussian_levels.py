"""CenterNet2's first stage: Gaussians on every level, boxes on the levels that fit."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.ties import assignable, highest, multi_hot
from detectors.ops.boxes import area, centers, sides
from detectors.ops.selection import gather_rows
from detectors.ranges import Positive, Share, Weight
from detectors.structures import Assignment, Pairs, Predictions, Priors, Targets


class GaussianLevels(Assigner):
    """The cell of the centre is positive on the levels made for the object's size.

    Zhou et al. 2021, "Probabilistic two-stage detection"; numbers and rules of the release
    (`centernet.py`). Class targets are `exp(-d^2 / r^2)` of the distance d between point and
    centre, on every level, the largest where objects of one class overlap; d is zero in the
    centre's cell. Boxes are learnt by the 3 x 3 points around that cell which lie within the
    object, on the same levels as the positives; of several objects that with the least `d / r`
    wins. Two objects whose cells coincide are one positive here, two in the release.

    Args:
        reach: a level of stride s is made for half diagonals from `reach[0] s` to `reach[1] s`,
            both inclusive, the finest also for all below and the coarsest for all above. Ranges
            overlap, so an object may have two levels.
        overlap: `r^2 = 2 delta^2 area` with `delta = (1 - overlap) / (1 + overlap)`.
        smallest: least r in pixels.
        cutoff: class targets below it are zero.
    """

    own_classes = True

    def __init__(
        self,
        reach: tuple[Weight, Positive] = (4.0, 10.0),
        overlap: Share = 0.8,
        smallest: Positive = 4.0,
        cutoff: Share = 0.0001,
    ) -> None:
        super().__init__()
        self.reach = tuple(reach)
        self.delta, self.smallest, self.cutoff = (1 - overlap) / (1 + overlap), smallest, cutoff

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] points, with class targets in [0, 1] and pairs."""
        priors, objects = predictions.priors, targets.boxes
        real = assignable(targets)[:, :, None]
        apart, cells = _apart(priors, objects)
        radius = (2 * self.delta**2 * area(objects)).clamp(min=self.smallest**2)
        home = (cells == 0).all(-1)
        relative = apart.masked_fill(home, 0.0) / radius[:, :, None]  # [B, M, N]
        heat = (-relative).exp()
        heat = heat.masked_fill((heat < self.cutoff) | ~real, 0.0)
        fitting = self._fitting(priors, objects) & real
        matched, positive = highest(home & fitting, -relative)
        near = (cells.abs() <= 1).all(-1) & _within(priors, objects) & fitting
        owner, taught = highest(near, -relative)
        pairs = Pairs(
            torch.arange(owner.shape[1], device=owner.device).expand_as(owner),
            owner,
            gather_rows(objects, owner),
            taught.float(),
        )
        scores = multi_hot(heat, targets.labels, predictions.logits.shape[-1])
        return Assignment(matched, positive, torch.zeros_like(positive), scores, pairs)

    def _fitting(self, priors: Priors, objects: Tensor) -> Tensor:
        """Objects by points whose level is made for them, [B, M, N]."""
        half = sides(objects).square().sum(-1).sqrt()[:, :, None] / 2
        stride, level = priors.stride, priors.level
        low = torch.where(level == 0, 0.0, self.reach[0] * stride)
        high = torch.where(level == len(priors.level_sizes) - 1, torch.inf, self.reach[1] * stride)
        return (half >= low) & (half <= high)


def _apart(priors: Priors, objects: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances [B, M, N] of centres to points, and cells [B, M, N, 2] from theirs to them.

    The cell of a centre is `floor(centre / stride)`, its point in the middle.
    """
    points, stride = centers(priors.boxes)[:, None], priors.stride[:, None]
    middle = centers(objects)[:, :, None]
    cells = torch.floor(points / stride) - torch.floor(middle / stride)
    return (points - middle).square().sum(-1), cells


def _within(priors: Priors, objects: Tensor) -> Tensor:
    """Whether points lie inside of objects, [B, M, N]."""
    points = centers(priors.boxes)[:, None]
    before, after = points - objects[:, :, None, :2], objects[:, :, None, 2:] - points
    return (torch.cat([before, after], dim=-1) > 0).all(-1)
