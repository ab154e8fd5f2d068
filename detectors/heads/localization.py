"""IoU-Net: how well boxes lie, learnt beside any head; ranks its boxes and moves them."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.assigners.ties import assignable
from detectors.contracts import check_contract
from detectors.heads import Head, Pooler
from detectors.heads.region_stage import as_priors
from detectors.losses.reduction import mean_over_devices
from detectors.ops.boxes import aligned_iou, centers, clip, from_center, sides
from detectors.ops.selection import gather_rows
from detectors.postprocess import top_pairs
from detectors.ranges import Count, Positive, Share
from detectors.structures import (
    Assignment,
    Candidates,
    Detections,
    FeatureSpec,
    Priors,
    Proposals,
    Targets,
)


class Jittered(NamedTuple):
    """Boxes near objects."""

    boxes: Tensor  # [B, J, 4]
    labels: Tensor  # [B, J] int64, of their objects
    iou: Tensor  # [B, J] with their objects
    valid: Tensor  # [B, J] bool, those of an object that is real and not to be ignored


class Jitter(nn.Module):
    """Boxes around each object whose IoU with it is uniform (Jiang et al. 2018, sec. 3.1).

    The paper moves boxes at random, drops those below an IoU of 0.5 and samples the rest so that
    the IoU is uniform. Here a direction in centre and log sides is drawn, and an IoU; the box is
    the one in that direction that has this IoU, found by halving.

    Args:
        count: boxes for each object.
        least: smallest IoU.
    """

    farthest = 4.0  # along a unit direction no box has an IoU of a half there
    halvings = 16

    def __init__(self, count: Count = 16, least: Share = 0.5) -> None:
        super().__init__()
        self.count, self.least = count, least

    @torch.no_grad()
    def forward(self, targets: Targets) -> Jittered:
        """`count` boxes [B, M * count, 4] around the objects."""
        objects = targets.boxes[:, :, None]
        directions, wanted = self.draw(targets)
        low = torch.zeros_like(wanted)
        high = torch.full_like(wanted, self.farthest)
        for _ in range(self.halvings):
            middle = (low + high) / 2
            near = aligned_iou(_moved(objects, directions, middle), objects) > wanted
            low, high = torch.where(near, middle, low), torch.where(near, high, middle)
        boxes = _moved(objects, directions, low)
        iou = aligned_iou(boxes, objects)
        valid = assignable(targets)[:, :, None].expand_as(iou)
        labels = targets.labels[:, :, None].expand_as(iou)
        return Jittered(boxes.flatten(1, 2), labels.flatten(1), iou.flatten(1), valid.flatten(1))

    def draw(self, targets: Targets) -> tuple[Tensor, Tensor]:
        """Unit directions [B, M, count, 4] and IoUs [B, M, count] at random."""
        shape, device = (*targets.labels.shape, self.count), targets.boxes.device
        directions = F.normalize(torch.randn(*shape, 4, device=device), dim=-1)
        return directions, self.least + (1 - self.least) * torch.rand(shape, device=device)


def _moved(boxes: Tensor, directions: Tensor, distance: Tensor) -> Tensor:
    """Boxes [..., 4] whose centre goes by a share of the sides and whose log sides grow."""
    shift, growth = (directions * distance[..., None]).split(2, dim=-1)
    side = sides(boxes)
    return from_center(centers(boxes) + shift * side, side * growth.exp())


class IoUBranch(nn.Module):
    """Two hidden layers over a flattened region, then for each class the IoU from -1 to 1.

    Jiang et al. 2018, sec. 3.1 and Fig. 5.

    Args:
        shape: of a pooled region, (channels, bins, bins).
        num_classes: C.
        width: of the hidden layers.
    """

    def __init__(self, shape: tuple[int, int, int], num_classes: int, width: Count = 1024) -> None:
        super().__init__()
        self.hidden = nn.Sequential(
            nn.Linear(math.prod(shape), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.iou = nn.Linear(width, num_classes)

    def forward(self, pooled: Tensor) -> Tensor:
        """[B, R, C] float32 of [B, R, channels, bins, bins]."""
        return self.iou(self.hidden(pooled.flatten(2))).float()


class Refinement(nn.Module):
    """Moves boxes up the slope of their predicted IoU (Jiang et al. 2018, sec. 3.2, Alg. 2).

    A step is `lambda` times the slope in pixels times the side of the box along its axis, as the
    paper scales it. A box that would turn inside out stays.

    Args:
        steps: T.
        rate: lambda.
        gain: Omega_1; a box whose IoU changes by less stays there.
        loss: a box whose IoU falls by more stays there, too; minus Omega_2.
    """

    def __init__(
        self, steps: Count = 5, rate: Positive = 0.5, gain: Positive = 0.001, loss: Positive = 0.01
    ) -> None:
        super().__init__()
        self.steps, self.rate, self.gain, self.loss = steps, rate, gain, loss

    def forward(self, judge: Callable[[Tensor], Tensor], boxes: Tensor) -> Tensor:
        """Boxes [B, K, 4] moved; `judge` predicts the IoU [B, K] of such boxes."""
        moving = torch.ones_like(boxes[..., 0], dtype=torch.bool)
        before, slope = _graded(judge, boxes)
        for _ in range(self.steps):
            side = sides(boxes).repeat(1, 1, 2)
            moved = boxes + self.rate * slope * side
            moving = moving & (sides(moved) > 0).all(-1)
            boxes = torch.where(moving[..., None], moved, boxes)
            after, slope = _graded(judge, boxes)
            change = after - before
            moving = moving & (change.abs() >= self.gain) & (change >= -self.loss)
            before = after
        return boxes


def _graded(judge: Callable[[Tensor], Tensor], boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted IoUs [B, K] of boxes [B, K, 4] and their slopes, as constants."""
    boxes = boxes.detach().requires_grad_()
    iou = judge(boxes.view_as(boxes))  # what follows modules, as a counter does, takes no leaf
    (slope,) = torch.autograd.grad(iou.sum(), boxes)
    return iou.detach(), slope


class LocalizationOutput(NamedTuple):
    """What the other head predicts, and what is needed to judge boxes."""

    head: Any
    features: list[Tensor]
    frames: Tensor
    jittered: Jittered | None  # where targets were given, ...
    predicted: Tensor | None  # ... [B, J] the IoU from -1 to 1 that is predicted of these


class LocalizationHead(Head):
    """Another head, and a branch that predicts how well boxes lie (Jiang et al. 2018, "IoU-Net").

    The branch learns from boxes around objects, not from those of the head. Of the `candidates`
    that score best it tells the IoU, by which `postprocess.IoUGuided` ranks them; what is left then
    moves up the slope of that IoU.

    Args:
        specs: feature levels, finest first.
        num_classes: C.
        head: makes the other head, `(specs)`.
        pooler: makes the pooler of the branch, `(specs)`, with a gradient to the boxes.
        branch: makes the network, `(shape, num_classes=)`.
        jitter: boxes around objects.
        refinement: how detections are moved; None: they stay.
        weight: of the branch's loss.
        candidates: (region, class) pairs of an image that are judged.

    Raises:
        ValueError: a part breaks its contract.
    """

    ranks_candidates = True
    tells = ("iou",)

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        head: Callable[..., Head],
        pooler: Callable[..., Pooler],
        branch: Callable[..., IoUBranch],
        jitter: Jitter,
        refinement: Refinement | None = None,
        weight: Positive = 1.0,
        candidates: Count = 400,
    ) -> None:
        super().__init__()
        self.head = head(specs)
        check_contract(self.head, Head)
        self.only_canvas, self.most = self.head.only_canvas, self.head.most
        self.finds_points = self.head.finds_points
        self.takes_proposals = self.head.takes_proposals
        self.needs_proposals = self.head.needs_proposals
        self.pooler = pooler(specs)
        check_contract(self.pooler, Pooler)
        self.branch = branch(self.pooler.shape, num_classes=num_classes)
        self.jitter, self.refinement = jitter, refinement
        self.weight, self.candidates = weight, candidates

    def forward(
        self,
        features: list[Tensor],
        frames: Tensor,
        targets: Targets | None = None,
        *proposals: Proposals,
    ) -> LocalizationOutput:
        """Predictions of the other head, in training also of the boxes around objects."""
        found = self.head(features, frames, targets, *proposals)
        if targets is None:
            return LocalizationOutput(found, features, frames, None, None)
        jittered = self.jitter(targets)
        predicted = self._predicted(features, jittered.boxes, jittered.labels)
        return LocalizationOutput(found, features, frames, jittered, predicted)

    def _predicted(self, features: list[Tensor], boxes: Tensor, labels: Tensor) -> Tensor:
        """The IoU [B, R] from -1 to 1 that the branch predicts for each box and its class."""
        by_class = self.branch(self.pooler(features, boxes))
        return by_class.gather(-1, labels[..., None]).squeeze(-1)

    def loss(self, output: LocalizationOutput, targets: Targets) -> dict[str, Tensor]:
        """Terms of the other head, and `localization`: smooth L1 on the IoU mapped to [-1, 1]."""
        jittered, predicted = output.jittered, output.predicted
        assert jittered is not None
        assert predicted is not None
        costs = F.smooth_l1_loss(predicted, 2 * jittered.iou - 1, reduction="none")
        valid = jittered.valid.float()
        mean = (costs * valid).sum() / mean_over_devices(valid.sum())
        return self.head.loss(output.head, targets) | {"localization": self.weight * mean}

    def assign(self, output: LocalizationOutput, targets: Targets) -> tuple[Priors, Assignment]:
        """Those of the other head."""
        return self.head.assign(output.head, targets)

    def detect(self, output: LocalizationOutput) -> Candidates:
        """The best (region, class) pairs as regions of one class each, with their IoU."""
        every = self.head.detect(output.head)
        classes = every.scores.shape[-1]
        best, pair = top_pairs(every.scores, self.candidates)
        labels = pair % classes
        rows = every.boxes.flatten(1, 2) if every.boxes.dim() == 4 else every.boxes
        boxes = gather_rows(rows, pair if every.boxes.dim() == 4 else pair // classes)
        boxes = clip(boxes, output.frames[:, None])
        scores = best.new_zeros(*best.shape, classes).scatter(2, labels[..., None], best[..., None])
        iou = _share(self._predicted(output.features, boxes, labels))
        priors = as_priors(boxes, every.priors.canvas)
        return Candidates(boxes, scores, priors, None, iou)

    def refine(self, output: LocalizationOutput, detections: Detections) -> Detections:
        """The detections, moved to where their predicted IoU is higher, within the frames."""
        if self.refinement is None:
            return detections
        with torch.inference_mode(False), torch.enable_grad():
            features = [level.detach().clone() for level in output.features]
            boxes, labels = detections.boxes.clone(), detections.labels.clone()

            def judge(given: Tensor) -> Tensor:
                return _share(self._predicted(features, given, labels))

            moved = self.refinement(judge, boxes)
        return detections._replace(boxes=clip(moved, output.frames[:, None]))


def _share(predicted: Tensor) -> Tensor:
    """From [-1, 1] to [0, 1]."""
    return (predicted + 1) / 2
