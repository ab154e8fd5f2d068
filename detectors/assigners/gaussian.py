"""CenterNet: a Gaussian around each centre, exactly one at its cell."""

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.best_shape import cells_away
from detectors.assigners.ties import assignable, last, multi_hot
from detectors.ops.boxes import clip, sides
from detectors.ops.selection import gather_rows
from detectors.ranges import Positive, Share, Weight
from detectors.structures import Assignment, Pairs, Predictions, Priors, Targets


class Gaussian(Assigner):
    """The cell of the centre is positive; its neighbours are softly so (CenterNet, sec. 3).

    Class targets are `exp(-d^2 / 2 sigma^2)` within radius r of the centre's cell along each axis,
    sigma = (2 r + 1) / `sigmas`, the largest where objects of one class overlap. Of several objects
    in one cell each is paired with it, as in the release; losses that do not look at `pairs` see
    the last one's box. Where a cell has several priors, or there are several levels, all are
    positive and keep the last object's box; an object that lost the first of its priors is paired
    with it too.

    Args:
        radius: "released" reproduces the published models, "exact" is what the paper describes.
        overlap: IoU that a box shifted by r still has.
        margin: cells at the right and lower border that boxes are cut off from, so that their
            centre and radius are those of the rest; the release cuts boxes to the size of its
            output less one. Objects of which nothing is left are not assigned. 0: none.
        sigmas: how many fit into the diameter.
    """

    own_classes = True

    def __init__(
        self,
        radius: str = "released",
        overlap: Share = 0.7,
        margin: Weight = 1.0,
        sigmas: Positive = 6.0,
    ) -> None:
        super().__init__()
        if radius not in RADII:
            raise ValueError(f"radius {radius!r} is unknown: choose one of {sorted(RADII)}")
        self.radius, self.overlap, self.margin = RADII[radius], overlap, margin
        self.sigmas = sigmas

    @torch.no_grad()
    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] points, with class targets in [0, 1] and pairs."""
        priors, objects = predictions.priors, self._shown(targets.boxes, predictions.priors)
        real = assignable(targets) & (sides(objects) > 0).all(-1)
        away = cells_away(priors, objects).abs()
        side = sides(objects) / priors.stride[0]
        radius = self.radius(side.ceil(), self.overlap).floor().clamp(min=0)[:, :, None]
        sigma = (2 * radius + 1) / self.sigmas
        heat = torch.exp(-away.square().sum(-1) / (2 * sigma.square()))  # [B, M, N]
        drawn = real[:, :, None] & (away.amax(-1) <= radius)
        heat = torch.where(drawn & (heat >= HEAT_EPSILON), heat, 0.0)
        home = (away == 0).all(-1) & real[:, :, None]
        matched, positive = last(home)
        scores = multi_hot(heat, targets.labels, predictions.logits.shape[-1])
        pairs = _pairs(home, matched, positive, objects, real)
        return Assignment(matched, positive, torch.zeros_like(positive), scores, pairs)

    def _shown(self, objects: Tensor, priors: Priors) -> Tensor:
        """Objects [B, M, 4] cut at the border; as they are without a margin."""
        if not self.margin:
            return objects
        height, width = priors.canvas
        edge = self.margin * priors.stride[0]
        frame = torch.stack([0 * edge, 0 * edge, width - edge, height - edge])
        return clip(objects, frame)


def _pairs(home: Tensor, matched: Tensor, positive: Tensor, objects: Tensor, real: Tensor) -> Pairs:
    """Each prior [B, N] with the object that it keeps; objects [B, M] with the one they lost."""
    batch, count = matched.shape
    first = home.int().argmax(2)
    row = torch.arange(real.shape[1], device=real.device).expand_as(real)
    lost = real & (matched.gather(1, first) != row)
    kept = torch.arange(count, device=matched.device).expand(batch, count)
    return Pairs(
        torch.cat([kept, first], dim=1),
        torch.cat([matched, row], dim=1),
        torch.cat([gather_rows(objects, matched), objects], dim=1),
        torch.cat([positive, lost], dim=1).float(),
    )


HEAT_EPSILON = 1.1920929e-07  # float32's; smaller values are drawn as zero


def exact_radius(side: Tensor, overlap: Share) -> Tensor:
    """Largest shift of the corners that keeps an IoU of `overlap`, for (w, h) [..., 2] as [...].

    The least of three cases: both corners move alike, both inwards, both outwards (CornerNet,
    sec. 3.2), each with the admissible root of its quadratic.
    """
    total, product = side.sum(-1), side.prod(-1)
    shifted = (total - (total.square() - 4 * product * (1 - overlap) / (1 + overlap)).sqrt()) / 2
    inwards = (total - (total.square() - 4 * (1 - overlap) * product).sqrt()) / 4
    root = (overlap**2 * total.square() + 4 * overlap * (1 - overlap) * product).sqrt()
    outwards = (root - overlap * total) / (4 * overlap)
    return shifted.minimum(inwards).minimum(outwards)


def released_radius(side: Tensor, overlap: Share) -> Tensor:
    """The radius that the published CenterNet weights were trained with, as `exact_radius` takes.

    The released code adds where it should subtract in the first two cases and forgets half of the
    last denominator, so the third case always wins, `4 overlap` times too large.
    """
    total, product = side.sum(-1), side.prod(-1)
    root = (overlap**2 * total.square() + 4 * overlap * (1 - overlap) * product).sqrt()
    return root - overlap * total


RADII = {"released": released_radius, "exact": exact_radius}
