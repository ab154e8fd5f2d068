"""Faster R-CNN: a dense head proposes, a second stage looks again at each proposal."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from detectors.assigners import Assigner
from detectors.assigners.sampled import Sampler
from detectors.coders import Coder
from detectors.contracts import check_contract
from detectors.heads import Head, Pooler, RegionHead
from detectors.heads.compatibility import check_assigner, check_compatibility
from detectors.heads.criterion import Criterion, LossWeights, present
from detectors.heads.dense import DenseHead
from detectors.losses import LossNormalizer, LossTerm, Mining
from detectors.ops.selection import gather_rows
from detectors.postprocess import PostProcess
from detectors.scores import Score
from detectors.structures import (
    Assignment,
    Candidates,
    Detections,
    FeatureSpec,
    Predictions,
    Priors,
    Targets,
)


class TwoStageOutput(NamedTuple):
    """Predictions of both stages; the second one's priors are proposals."""

    proposals: Predictions
    regions: Predictions  # deltas [B, R, C, 4]
    valid: Tensor  # [B, R] bool, regions that are real
    assignment: Assignment | None  # of regions, where targets were given


class TwoStageHead(Head):
    """Region proposals, then classes and class-specific boxes of each region.

    Args:
        specs: feature levels, finest first.
        num_classes: C.
        proposal_head: partial of a `DenseHead` for one class, "object".
        train_proposals: post-process that thins out proposals when targets are given.
        test_proposals: the same when none are.
        pooler: makes the pooler, `(specs)`.
        region_head: makes the network of the second stage, `(shape, num_classes=)`.
        coder: of the second stage.
        assigner: of objects to regions.
        sampler: thins out regions in training.
        losses: named terms of the second stage.
        score: of the second stage.
        loss_normalizer: of the second stage.
        loss_weights: of the second stage's `Criterion`.
        mining: likewise; with one, it sees all proposals, and `sampler` draws none (OHEM,
            Shrivastava et al. 2016, sec. 4).

    Raises:
        ValueError: a part breaks its contract, or parts do not fit each other.
    """

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        proposal_head: Callable[..., DenseHead],
        train_proposals: PostProcess,
        test_proposals: PostProcess,
        pooler: Callable[..., Pooler],
        region_head: Callable[..., RegionHead],
        coder: Coder,
        assigner: Assigner,
        sampler: Sampler,
        losses: dict[str, LossTerm | None],
        score: Score,
        loss_normalizer: LossNormalizer,
        loss_weights: LossWeights | None = None,
        mining: Mining | None = None,
    ) -> None:
        super().__init__()
        self.proposal_head = proposal_head(specs, num_classes=1)
        self.train_proposals, self.test_proposals = train_proposals, test_proposals
        self.pooler = pooler(specs)
        check_contract(self.pooler, Pooler)
        self.region_head = region_head(self.pooler.shape, num_classes=num_classes)
        check_contract(self.region_head, RegionHead)
        check_contract(coder, Coder)
        check_contract(assigner, Assigner)
        check_contract(score, Score)
        self.only_canvas = self.proposal_head.only_canvas
        self.coder, self.assigner, self.score = coder, assigner, score
        self.sampler = sampler if mining is None else None
        self.criterion = Criterion(
            num_classes, coder, losses, loss_normalizer, loss_weights, mining
        )
        check_compatibility(self.region_head, present(losses), score, coder)
        check_assigner(assigner, present(losses), score)

    def forward(
        self, features: list[Tensor], frames: Tensor, targets: Targets | None = None
    ) -> TwoStageOutput:
        """Both stages; with targets the second one sees a sample that includes the objects."""
        proposals = self.proposal_head(features, frames)
        boxes, valid = self._propose(proposals, frames, targets)
        assignment = None
        if targets is not None:
            boxes, valid, assignment = self._sample(boxes, valid, targets, proposals.priors.canvas)
        logits, deltas = self.region_head(self.pooler(features, boxes))
        regions = Predictions(logits, deltas, None, _as_priors(boxes, proposals.priors.canvas))
        return TwoStageOutput(proposals, regions, valid, assignment)

    @torch.no_grad()
    def _propose(
        self, predictions: Predictions, frames: Tensor, targets: Targets | None
    ) -> tuple[Tensor, Tensor]:
        """Proposals [B, R, 4] and which are real, [B, R]; in training the objects are appended."""
        candidates = self.proposal_head.detect(predictions)
        if targets is None:
            proposed = without_padding(self.test_proposals(candidates, frames))
            return proposed.boxes, proposed.valid
        proposed = self.train_proposals(candidates, frames)
        objects = targets.valid & ~targets.ignore
        boxes = torch.cat([proposed.boxes, targets.boxes], dim=1)
        return boxes, torch.cat([proposed.valid, objects], dim=1)

    @torch.no_grad()
    def _sample(
        self, boxes: Tensor, valid: Tensor, targets: Targets, canvas: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Assignment]:
        """The sampled regions first [B, S, 4], which of them are real, and their assignment."""
        nothing = boxes.new_zeros(*boxes.shape[:2], 0)
        predictions = Predictions(nothing, nothing, None, _as_priors(boxes, canvas))
        found = self.assigner(predictions, boxes, targets)
        found = Assignment(found.matched, found.positive & valid, found.ignored | ~valid)
        if self.sampler is None:
            return boxes, valid, found
        drawn = self.sampler(found)
        rank = 2 * drawn.positive.int() + (~drawn.ignored).int()
        _, index = rank.topk(min(self.sampler.count, boxes.shape[1]), dim=1)
        sampled = Assignment(
            drawn.matched.gather(1, index),
            drawn.positive.gather(1, index),
            drawn.ignored.gather(1, index),
        )
        return gather_rows(boxes, index), ~sampled.ignored, sampled

    def loss(self, output: TwoStageOutput, targets: Targets) -> dict[str, Tensor]:
        """Terms of both stages, `proposal_...` and `region_...`."""
        assert output.assignment is not None, "forward needs the targets to sample regions"
        first = self.proposal_head.loss(output.proposals, _anything(targets))
        regions = output.regions
        labels = targets.labels.gather(1, output.assignment.matched)
        own = labels[..., None, None].expand(*labels.shape, 1, 4)
        regions = regions._replace(deltas=regions.deltas.gather(2, own).squeeze(2))
        boxes = self.coder.decode(regions.deltas, regions.priors)
        second = self.criterion(regions, boxes, targets, output.assignment)
        return {f"proposal_{name}": term for name, term in first.items()} | {
            f"region_{name}": term for name, term in second.items()
        }

    def assign(self, output: TwoStageOutput, targets: Targets) -> tuple[Priors, Assignment]:
        """Those of the first stage."""
        return self.proposal_head.assign(output.proposals, _anything(targets))

    def detect(self, output: TwoStageOutput) -> Candidates:
        """Every region decoded for every class, boxes [B, R, C, 4]; unreal ones score 0."""
        regions, priors = output.regions, output.regions.priors
        per_class = priors._replace(boxes=priors.boxes[:, :, None])
        boxes = self.coder.decode(regions.deltas, per_class)
        scores = self.score(regions.logits, None) * output.valid[..., None]
        return Candidates(boxes, scores, priors)


def _anything(targets: Targets) -> Targets:
    """The same objects, all of the one class "object"."""
    return targets._replace(labels=torch.zeros_like(targets.labels))


def without_padding(detections: Detections) -> Detections:
    """The rows [B, 1 <= k <= K] up to the last one that is real in any image.

    Each row less is one that the second stage need not look at. While a graph is captured, and on
    the device "meta", all rows stay, for there a shape cannot depend on data.
    """
    if torch.compiler.is_compiling() or detections.valid.is_meta:
        return detections
    most = max(int(detections.valid.sum(dim=1).max()), 1)
    return Detections(*(field[:, :most] for field in detections))


def _as_priors(boxes: Tensor, canvas: tuple[int, int]) -> Priors:
    """Proposals [B, R, 4] as priors of a single level."""
    count = boxes.shape[1]
    return Priors(boxes, boxes.new_ones(count), (count,), canvas)
