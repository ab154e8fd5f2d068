"""Faster R-CNN: a dense head proposes, a second stage looks again at each proposal."""

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from itertools import pairwise
from operator import add
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from detectors.assigners import Assigner
from detectors.assigners.sampled import Sampler
from detectors.coders import Coder
from detectors.contracts import check_contract
from detectors.heads import Head, Pooler, RegionHead
from detectors.heads.criterion import Criterion, LossWeights, present
from detectors.heads.dense import DenseHead
from detectors.heads.region_stage import (
    RegionLook,
    Regions,
    RegionStage,
    Stage,
    as_priors,
    assigned,
    check_stage,
    decoded,
    hardest,
    losses_of,
    made_region_head,
    refined,
    with_objects,
)
from detectors.losses import LossNormalizer, LossTerm, Mining
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
    """Predictions of the first stage, and of every look at its proposals."""

    proposals: Predictions
    looks: tuple[RegionLook, ...]
    proposed: Tensor | None  # [B, R] scores of the proposals, where no targets were given


class TwoStageHead(Head):
    """Region proposals, then classes and boxes of each region.

    With further looks it is a cascade: each looks at the boxes of the one before, their scores are
    averaged, and the boxes of the last are detected (Cai and Vasconcelos 2018, sec. 4).

    Args:
        specs: feature levels, finest first.
        num_classes: C.
        proposal_head: partial of a `DenseHead` for one class, "object".
        train_proposals: post-process that thins out proposals when targets are given.
        test_proposals: the same when none are.
        pooler: makes the pooler, `(specs)`; all looks share it.
        region_head: makes the network of the second stage, `(shape, num_classes=)`.
        coder: of the second stage.
        assigner: of objects to regions.
        sampler: thins out regions in training.
        losses: named terms of the second stage.
        score: of the second stage.
        loss_normalizer: of the second stage.
        loss_weights: of the second stage's `Criterion`.
        mining: likewise; with one, it sees all proposals, and `sampler` draws none. Where it keeps
            a known number, a pass without gradient tells what all cost, and those that are kept
            pass again (OHEM, Shrivastava et al. 2016, sec. 4). Batch norms see both passes.
        later: makes further looks by name, `(shape, num_classes=)`, in their order.
        joint_score: `(scores [B, R, C], proposed [B, R]) -> [B, R, C]`, one score of both stages';
            None: that of the second stage (Zhou et al. 2021, "Probabilistic two-stage detection").

    Raises:
        ValueError: a part breaks its contract, parts do not fit each other, a later look has the
            name of another loss, or a look that another one follows has a box for each class.
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
        later: Mapping[str, Callable[..., RegionStage]] | None = None,
        joint_score: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.proposal_head = proposal_head(specs, num_classes=1)
        self.train_proposals, self.test_proposals = train_proposals, test_proposals
        self.pooler = pooler(specs)
        check_contract(self.pooler, Pooler)
        self.region_head = made_region_head(region_head, self.pooler.shape, num_classes, coder)
        check_stage(self.region_head, coder, assigner, present(losses), score)
        self.only_canvas = self.proposal_head.only_canvas
        self.coder, self.assigner, self.score = coder, assigner, score
        self.joint_score = joint_score
        self.sampler = sampler if mining is None else None
        self.criterion = Criterion(
            num_classes, coder, losses, loss_normalizer, loss_weights, mining
        )
        self.later = nn.ModuleDict(
            {
                name: stage(self.pooler.shape, num_classes=num_classes)
                for name, stage in (later or {}).items()
            }
        )
        _check_names(list(self.later))
        _check_boxes(self._stages()[:-1])

    def _stages(self) -> list[Stage]:
        """The parts of each look; this head has those of the first itself."""
        return [self, *cast(Iterable[RegionStage], self.later.values())]

    def forward(
        self, features: list[Tensor], frames: Tensor, targets: Targets | None = None
    ) -> TwoStageOutput:
        """Both stages; with targets the second one sees a sample that includes the objects."""
        proposals = self.proposal_head(features, frames)
        regions, proposed = self._propose(proposals, frames, targets)
        canvas = proposals.priors.canvas
        looks = [self._look(self, features, regions, targets, canvas)]
        for earlier, stage in pairwise(self._stages()):
            regions = refined(earlier, looks[-1], frames)
            if targets is not None and cast(RegionStage, stage).adds_objects:
                regions = with_objects(regions, targets)
            looks.append(self._look(stage, features, regions, targets, canvas))
        return TwoStageOutput(proposals, tuple(looks), proposed if targets is None else None)

    @torch.no_grad()
    def _propose(
        self, predictions: Predictions, frames: Tensor, targets: Targets | None
    ) -> tuple[Regions, Tensor]:
        """Proposals with their scores [B, R]; in training the objects are added, without any."""
        candidates = self.proposal_head.detect(predictions)
        if targets is None:
            proposed = without_padding(self.test_proposals(candidates, frames))
        else:
            proposed = self.train_proposals(candidates, frames)
        regions = Regions(proposed.boxes, proposed.valid, torch.zeros_like(proposed.valid))
        return regions if targets is None else with_objects(regions, targets), proposed.scores

    def _look(
        self,
        stage: Stage,
        features: list[Tensor],
        regions: Regions,
        targets: Targets | None,
        canvas: tuple[int, int],
    ) -> RegionLook:
        """What a stage says of the regions, in training of those that it draws."""
        if targets is None:
            return self._predicted(stage, features, regions, None, canvas)
        drawn = assigned(stage, regions, targets, canvas)
        mining = stage.criterion.mining
        if mining is not None and mining.most is not None:
            with torch.no_grad():
                every = self._predicted(stage, features, *drawn, canvas)
            drawn = hardest(stage, every, targets)
        return self._predicted(stage, features, *drawn, canvas)

    def _predicted(
        self,
        stage: Stage,
        features: list[Tensor],
        regions: Regions,
        assignment: Assignment | None,
        canvas: tuple[int, int],
    ) -> RegionLook:
        logits, deltas = stage.region_head(self.pooler(features, regions.boxes))
        predictions = Predictions(logits, deltas, None, as_priors(regions.boxes, canvas))
        return RegionLook(predictions, regions, assignment)

    def loss(self, output: TwoStageOutput, targets: Targets) -> dict[str, Tensor]:
        """Terms of both stages, `proposal_...` and `region_...`, of a later look `NAME_...`."""
        first = self.proposal_head.loss(output.proposals, _anything(targets))
        second = losses_of(self, output.looks[0], targets)
        found = {f"proposal_{name}": term for name, term in first.items()}
        found |= {f"region_{name}": term for name, term in second.items()}
        for (stage_name, part), look in zip(self.later.items(), output.looks[1:], strict=True):
            stage = cast(RegionStage, part)
            terms = losses_of(stage, look, targets)
            found |= {f"{stage_name}_{name}": stage.weight * term for name, term in terms.items()}
        return found

    def assign(self, output: TwoStageOutput, targets: Targets) -> tuple[Priors, Assignment]:
        """Those of the first stage."""
        return self.proposal_head.assign(output.proposals, _anything(targets))

    def detect(self, output: TwoStageOutput) -> Candidates:
        """Boxes of the last look, [B, R, C, 4] or [B, R, 4], scored by all; unreal ones score 0."""
        looks = list(zip(self._stages(), output.looks, strict=True))
        scores = [stage.score(look.predictions.logits, None) for stage, look in looks]
        stage, last = looks[-1]
        joint = reduce(add, scores) / len(scores)
        if self.joint_score is not None:
            assert output.proposed is not None
            joint = self.joint_score(joint, output.proposed)
        joint = joint * last.regions.valid[..., None]
        deviations = stage.coder.deviations(last.predictions.deltas)
        return Candidates(decoded(stage, last), joint, last.predictions.priors, deviations)


def _check_names(later: list[str]) -> None:
    """Refuse names under which losses of the first look or of the proposals would be lost."""
    for name in later:
        if name in ("proposal", "region"):
            raise ValueError(
                f"a later look is named {name!r}, as the losses of another are: choose another "
                "name, such as 'second'"
            )


def _check_boxes(stages: list[Stage]) -> None:
    """Refuse looks whose boxes the next one could not take."""
    for stage in stages:
        if not stage.region_head.one_box:
            raise ValueError(
                f"{type(stage.region_head).__name__} gives each region a box for every class, but "
                "a later look takes one: set region_head.one_box=true"
            )


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
