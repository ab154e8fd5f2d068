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
from detectors.heads.compatibility import told_by
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
from detectors.heads.windows import WindowGrid
from detectors.losses import LossNormalizer, LossTerm, Mining
from detectors.postprocess import PostProcess
from detectors.priors import canvas_size
from detectors.scores import Score
from detectors.structures import (
    Assignment,
    Candidates,
    Detections,
    FeatureSpec,
    Predictions,
    Priors,
    Proposals,
    Targets,
)


class TwoStageOutput(NamedTuple):
    """Predictions of the first stage, and of every look at its proposals."""

    proposals: Predictions | None  # None where there is no first stage
    looks: tuple[RegionLook, ...]
    proposed: Tensor | None  # [B, R] scores of the proposals, of a first stage without targets


class TwoStageHead(Head):
    """Region proposals, then classes and boxes of each region.

    With further looks it is a cascade: each looks at the boxes of the one before, their scores are
    averaged, and the boxes of the last are detected (Cai and Vasconcelos 2018, sec. 4).

    Without a first stage it looks at the proposals that come with the images, as Fast R-CNN does
    (Girshick 2015).

    Args:
        specs: feature levels, finest first.
        num_classes: C.
        proposal_head: partial of a `DenseHead` for one class, "object"; None: no first stage.
        train_proposals: post-process that thins out its proposals when targets are given.
        test_proposals: the same when none are.
        pooler: makes the pooler, `(specs)`; all looks share it.
        region_head: makes the network of the second stage, `(shape, num_classes=)`.
        coder: of the second stage.
        assigner: of objects to regions.
        sampler: thins out regions in training.
        losses: named terms of the second stage; None: it is idle in training, and the first stage
            learns alone (Ren et al. 2015, sec. 3.2, steps 1 and 3).
        score: of the second stage.
        loss_normalizer: of the second stage.
        loss_weights: of the second stage's `Criterion`.
        mining: likewise; with one, it sees all proposals, and `sampler` draws none. Where it keeps
            a known number, a pass without gradient tells what all cost, and those that are kept
            pass again (OHEM, Shrivastava et al. 2016, sec. 4). Batch norms see both passes.
        later: makes further looks by name, `(shape, num_classes=)`, in their order.
        joint_score: `(scores [B, R, C], proposed [B, R]) -> [B, R, C]`, one score of both stages';
            None: that of the second stage (Zhou et al. 2021, "Probabilistic two-stage detection").
        windows: stand in the place of proposals where none are given; without a first stage alone.

    Raises:
        ValueError: a part breaks its contract, parts do not fit each other, a later look has the
            name of another loss, a look that another one follows has a box for each class, a part
            of a first stage is there without the others, or nothing would learn.
    """

    ranks_candidates = True

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        proposal_head: Callable[..., DenseHead] | None,
        train_proposals: PostProcess | None,
        test_proposals: PostProcess | None,
        pooler: Callable[..., Pooler],
        region_head: Callable[..., RegionHead],
        coder: Coder,
        assigner: Assigner,
        sampler: Sampler,
        losses: dict[str, LossTerm | None] | None,
        score: Score,
        loss_normalizer: LossNormalizer,
        loss_weights: LossWeights | None = None,
        mining: Mining | None = None,
        later: Mapping[str, Callable[..., RegionStage]] | None = None,
        joint_score: Callable[[Tensor, Tensor], Tensor] | None = None,
        windows: WindowGrid | None = None,
    ) -> None:
        super().__init__()
        _check_first_stage(proposal_head, train_proposals, test_proposals, joint_score, windows)
        self.specs, self.windows = specs, windows
        self.proposal_head = None if proposal_head is None else proposal_head(specs, num_classes=1)
        self.takes_proposals = proposal_head is None
        self.needs_proposals = proposal_head is None and windows is None
        self.train_proposals, self.test_proposals = train_proposals, test_proposals
        self.pooler = pooler(specs)
        check_contract(self.pooler, Pooler)
        self.region_head = made_region_head(region_head, self.pooler.shape, num_classes, coder)
        if losses is not None:
            check_stage(self.region_head, coder, assigner, present(losses), score)
        elif proposal_head is None or later:
            raise ValueError(
                "losses=null lets the first stage alone learn, and here is none or a further look: "
                "give losses, or a proposal_head without further looks"
            )
        if self.proposal_head is not None:
            self.only_canvas = self.proposal_head.only_canvas
        self.coder, self.assigner, self.score = coder, assigner, score
        self.joint_score = joint_score
        self.sampler = sampler if mining is None else None
        self.criterion = Criterion(
            num_classes, coder, losses or {}, loss_normalizer, loss_weights, mining
        )
        self.learns = losses is not None
        self.later = nn.ModuleDict(
            {
                name: stage(self.pooler.shape, num_classes=num_classes)
                for name, stage in (later or {}).items()
            }
        )
        _check_names(list(self.later))
        _check_boxes(self._stages()[:-1])
        self.tells = told_by(self._stages()[-1].coder)

    def _stages(self) -> list[Stage]:
        """The parts of each look; this head has those of the first itself."""
        return [self, *cast(Iterable[RegionStage], self.later.values())]

    def forward(
        self,
        features: list[Tensor],
        frames: Tensor,
        targets: Targets | None = None,
        given: Proposals | None = None,
    ) -> TwoStageOutput:
        """Both stages; with targets the second one sees a sample that includes the objects."""
        proposals, proposed = None, None
        if self.proposal_head is None:
            regions = self._taken(frames, targets, given)
        else:
            proposals = self.proposal_head(features, frames)
            if targets is not None and not self.learns:
                return TwoStageOutput(proposals, (), None)
            regions, proposed = self._propose(proposals, frames, targets)
        canvas = canvas_size(features, self.specs)
        looks = [self._look(self, features, regions, targets, canvas)]
        for earlier, stage in pairwise(self._stages()):
            regions = refined(earlier, looks[-1], frames)
            if targets is not None and cast(RegionStage, stage).adds_objects:
                regions = with_objects(regions, targets)
            looks.append(self._look(stage, features, regions, targets, canvas))
        return TwoStageOutput(proposals, tuple(looks), proposed if targets is None else None)

    def _taken(self, frames: Tensor, targets: Targets | None, given: Proposals | None) -> Regions:
        """The proposals that came with the images, or windows; in training objects are added."""
        if given is None and self.windows is None:
            raise ValueError(
                "this model looks at proposals that come with the images, and there are none: give "
                "them as `proposals`, or train one that proposes itself, such as model=faster_rcnn"
            )
        boxes, valid = self.windows(frames) if given is None else given  # type: ignore[misc]
        if targets is None:
            boxes, valid = without_padded_rows((boxes, valid), valid)
        regions = Regions(boxes, valid, torch.zeros_like(valid))
        return regions if targets is None else with_objects(regions, targets)

    def proposed(self, features: list[Tensor], frames: Tensor) -> Detections:
        """What the first stage proposes in a test, best first."""
        assert self.proposal_head is not None
        assert self.test_proposals is not None
        candidates = self.proposal_head.detect(self.proposal_head(features, frames))
        return self.test_proposals(candidates, frames)

    @torch.no_grad()
    def _propose(
        self, predictions: Predictions, frames: Tensor, targets: Targets | None
    ) -> tuple[Regions, Tensor]:
        """Proposals with their scores [B, R]; in training the objects are added, without any."""
        assert self.proposal_head is not None
        assert self.train_proposals is not None
        assert self.test_proposals is not None
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
        first: dict[str, Tensor] = {}
        if self.proposal_head is not None:
            assert output.proposals is not None
            first = self.proposal_head.loss(output.proposals, _anything(targets))
        found = {f"proposal_{name}": term for name, term in first.items()}
        if not output.looks:
            return found
        second = losses_of(self, output.looks[0], targets)
        found |= {f"region_{name}": term for name, term in second.items()}
        for (stage_name, part), look in zip(self.later.items(), output.looks[1:], strict=True):
            stage = cast(RegionStage, part)
            terms = losses_of(stage, look, targets)
            found |= {f"{stage_name}_{name}": stage.weight * term for name, term in terms.items()}
        return found

    def assign(self, output: TwoStageOutput, targets: Targets) -> tuple[Priors, Assignment]:
        """Those of the first stage; without one, the regions that the first look is trained on."""
        if self.proposal_head is not None:
            assert output.proposals is not None
            return self.proposal_head.assign(output.proposals, _anything(targets))
        look = output.looks[0]
        assert look.assignment is not None
        return look.predictions.priors, look.assignment

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


def _check_first_stage(
    proposal_head: Callable[..., DenseHead] | None,
    train_proposals: PostProcess | None,
    test_proposals: PostProcess | None,
    joint_score: Callable[[Tensor, Tensor], Tensor] | None,
    windows: WindowGrid | None,
) -> None:
    """Refuse parts of a first stage that is not there, and one that lacks a part."""
    of_it = {"train_proposals": train_proposals, "test_proposals": test_proposals}
    if proposal_head is not None:
        lacking = [name for name, part in of_it.items() if part is None]
        if lacking or windows is not None:
            fault = f"lacks {lacking[0]}" if lacking else "takes no windows"
            raise ValueError(f"a first stage {fault}: give the other, or leave out proposal_head")
        return
    idle = {**of_it, "joint_score": joint_score}
    if found := [name for name, part in idle.items() if part is not None]:
        raise ValueError(
            f"{found[0]} needs the scores of a first stage, and proposal_head=null leaves none: "
            f"set {found[0]}=null, too"
        )


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
    return Detections(*without_padded_rows(detections, detections.valid))


def without_padded_rows(fields: Iterable[Tensor], valid: Tensor) -> tuple[Tensor, ...]:
    """The rows [B, 1 <= k <= K, ...] of each field, likewise."""
    if torch.compiler.is_compiling() or valid.is_meta:
        return tuple(fields)
    places = torch.arange(1, valid.shape[1] + 1, device=valid.device)
    most = max(int((valid * places).max()), 1)
    return tuple(field[:, :most] for field in fields)
