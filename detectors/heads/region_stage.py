"""A look at regions: which of them train, what is predicted of each, and where it moves them."""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from detectors.assigners import Assigner
from detectors.assigners.sampled import Sampler
from detectors.coders import Coder
from detectors.contracts import check_contract
from detectors.heads import RegionHead
from detectors.heads.compatibility import check_assigner, check_compatibility, numbers_of
from detectors.heads.criterion import Criterion, LossWeights, present
from detectors.losses import LossNormalizer, LossTerm, Mining
from detectors.ops.boxes import clip
from detectors.ops.selection import gather_rows
from detectors.ranges import Positive
from detectors.scores import Score
from detectors.structures import Assignment, Predictions, Priors, Targets


class Regions(NamedTuple):
    """What a stage looks at."""

    boxes: Tensor  # [B, R, 4]
    valid: Tensor  # [B, R] bool, those that are real
    added: Tensor  # [B, R] bool, objects that were put among them in training


class RegionLook(NamedTuple):
    """What a stage says of the regions that it looked at; they are the priors."""

    predictions: Predictions  # deltas [B, R, C, 4], or [B, R, 4] of a region head with one box
    regions: Regions
    assignment: Assignment | None  # of regions, where targets were given


class Stage(Protocol):
    """The parts of one look; a `RegionStage` has them, and a `TwoStageHead` those of the first."""

    region_head: RegionHead
    coder: Coder
    assigner: Assigner
    sampler: Sampler | None
    criterion: Criterion
    score: Score


class RegionStage(nn.Module):
    """A further look of a `TwoStageHead`, at the boxes that the look before it found.

    Cai and Vasconcelos 2018, "Cascade R-CNN", sec. 4.1.

    Args:
        shape: of a pooled region, (channels, bins, bins).
        num_classes: C.
        region_head: makes the network, `(shape, num_classes=)`.
        coder, assigner, losses, score, loss_normalizer, loss_weights, mining: as of `TwoStageHead`.
        sampler: draws from the boxes and the objects anew, as mmdetection does; None: the boxes of
            the regions that trained before train again, as in detectron2.
        weight: of all its terms.

    Raises:
        ValueError: a part breaks its contract, or parts do not fit each other.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        region_head: Callable[..., RegionHead],
        coder: Coder,
        assigner: Assigner,
        losses: dict[str, LossTerm | None],
        score: Score,
        loss_normalizer: LossNormalizer,
        sampler: Sampler | None = None,
        loss_weights: LossWeights | None = None,
        mining: Mining | None = None,
        weight: Positive = 1.0,
    ) -> None:
        super().__init__()
        self.region_head = made_region_head(region_head, shape, num_classes, coder)
        check_stage(self.region_head, coder, assigner, present(losses), score)
        self.coder, self.assigner, self.score, self.weight = coder, assigner, score, weight
        self.adds_objects = sampler is not None
        self.sampler = sampler if mining is None else None
        self.criterion = Criterion(
            num_classes, coder, losses, loss_normalizer, loss_weights, mining
        )


def made_region_head(
    maker: Callable[..., RegionHead], shape: tuple[int, int, int], num_classes: int, coder: Coder
) -> RegionHead:
    """A region head that regresses as many numbers as the coder decodes.

    Raises:
        ValueError: it cannot.
    """
    numbers = numbers_of(coder, maker, "a region head that takes numbers, such as TwoMLPHead")
    return maker(shape, num_classes=num_classes, **numbers)


def check_stage(
    region_head: RegionHead,
    coder: Coder,
    assigner: Assigner,
    losses: dict[str, LossTerm],
    score: Score,
) -> None:
    """Refuse parts of a look that break their contracts or do not fit each other.

    Raises:
        ValueError: names them.
    """
    check_contract(region_head, RegionHead)
    check_contract(coder, Coder)
    check_contract(assigner, Assigner)
    check_contract(score, Score)
    check_compatibility(region_head, losses, score, coder)
    check_assigner(assigner, losses, score)
    if coder.by_class and region_head.one_box:
        raise ValueError(
            f"{type(coder).__name__} has numbers for each class, but {type(region_head).__name__} "
            "gives a region one box whatever its class: set region_head.one_box=false, or take the "
            "coder detectors.coders.Delta"
        )


def as_priors(boxes: Tensor, canvas: tuple[int, int]) -> Priors:
    """Regions [B, R, 4] as priors of a single level."""
    count = boxes.shape[1]
    return Priors(boxes, boxes.new_ones(count), (count,), canvas)


def with_objects(regions: Regions, targets: Targets) -> Regions:
    """The regions, less objects that were added before, and behind them the objects [B, R + M]."""
    objects = targets.valid & ~targets.ignore
    return Regions(
        torch.cat([regions.boxes, targets.boxes], dim=1),
        torch.cat([regions.valid & ~regions.added, objects], dim=1),
        torch.cat([regions.added, torch.ones_like(objects)], dim=1),
    )


@torch.no_grad()
def assigned(
    stage: Stage, regions: Regions, targets: Targets, canvas: tuple[int, int]
) -> tuple[Regions, Assignment]:
    """The regions that train, [B, S], and their assignment; without a sampler all of them do."""
    boxes, valid, _ = regions
    nothing = boxes.new_zeros(*boxes.shape[:2], 0)
    predictions = Predictions(nothing, nothing, None, as_priors(boxes, canvas))
    found = stage.assigner(predictions, boxes, targets)
    found = Assignment(found.matched, found.positive & valid, found.ignored | ~valid)
    if stage.sampler is None:
        return regions, found
    drawn = stage.sampler(found)
    rank = 2 * drawn.positive.int() + (~drawn.ignored).int()
    _, index = rank.topk(min(stage.sampler.count, boxes.shape[1]), dim=1)
    return _rows(regions, drawn, index)


def _rows(regions: Regions, assignment: Assignment, index: Tensor) -> tuple[Regions, Assignment]:
    """The regions at `index` [B, S] with their assignment; real are those not ignored."""
    chosen = Assignment(
        assignment.matched.gather(1, index),
        assignment.positive.gather(1, index),
        assignment.ignored.gather(1, index),
    )
    added = regions.added.gather(1, index)
    return Regions(gather_rows(regions.boxes, index), ~chosen.ignored, added), chosen


@torch.no_grad()
def hardest(stage: Stage, look: RegionLook, targets: Targets) -> tuple[Regions, Assignment]:
    """The regions that the stage's mining keeps, [B, `mining.most`], and their assignment.

    Args:
        stage: with a mining that has a `most`.
        look: at all regions, without gradient: the "read-only" pass of OHEM (Shrivastava et al.
            2016, sec. 4.1, Fig. 2).
        targets: padded objects.
    """
    mining, assignment = stage.criterion.mining, look.assignment
    assert mining is not None
    assert mining.most is not None
    assert assignment is not None
    kept = stage.criterion.kept(*_of_own_class(stage, look, targets), targets, assignment)
    kept = kept * ~assignment.ignored
    _, index = kept.topk(min(mining.most, kept.shape[1]), dim=1)
    left_out = kept == 0
    chosen = Assignment(
        assignment.matched * ~left_out,
        assignment.positive & ~left_out,
        assignment.ignored | left_out,
    )
    return _rows(look.regions, chosen, index)


@torch.no_grad()
def refined(stage: Stage, look: RegionLook, frames: Tensor) -> Regions:
    """The regions as the stage moved them, cut to the frames; constants for the gradient."""
    boxes = stage.coder.decode(look.predictions.deltas, look.predictions.priors)
    return look.regions._replace(boxes=clip(boxes, frames[:, None]))


def losses_of(stage: Stage, look: RegionLook, targets: Targets) -> dict[str, Tensor]:
    """The terms of a stage by name; of boxes by class, those of an object's own class count."""
    assert look.assignment is not None, "forward needs the targets to sample regions"
    return stage.criterion(*_of_own_class(stage, look, targets), targets, look.assignment)


def _of_own_class(stage: Stage, look: RegionLook, targets: Targets) -> tuple[Predictions, Tensor]:
    """Predictions with one box, that of the class of a region's object, and the boxes decoded."""
    assert look.assignment is not None
    predictions = look.predictions
    labels = targets.labels.gather(1, look.assignment.matched)
    if not stage.region_head.one_box:
        own = labels[..., None, None].expand(*labels.shape, 1, predictions.deltas.shape[-1])
        own_deltas = predictions.deltas.gather(2, own).squeeze(2)
        predictions = predictions._replace(deltas=own_deltas)
    boxes = stage.coder.decode_own(predictions.deltas, predictions.priors, labels)
    return predictions, boxes


def decoded(stage: Stage, look: RegionLook) -> Tensor:
    """Boxes [B, R, C, 4], or [B, R, 4] of a region head with one box."""
    priors = look.predictions.priors
    if not stage.region_head.one_box:
        priors = priors._replace(boxes=priors.boxes[:, :, None])
    return stage.coder.decode(look.predictions.deltas, priors)
