"""Puts predictions beside their targets and weighs what the loss terms say of them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from detectors.coders import Coder
from detectors.contracts import check_contract
from detectors.losses import LossNormalizer, LossTerm, LossWeight, Mining
from detectors.losses.box import of_priors, paired_objects
from detectors.losses.reduction import total
from detectors.ops.selection import gather_rows
from detectors.structures import (
    Assignment,
    Matched,
    Pairs,
    Predictions,
    PriorRows,
    Priors,
    Targets,
)

LossNormalizers = LossNormalizer | Mapping[str, LossNormalizer]
LossWeights = Mapping[str, Mapping[str, LossWeight]]


class Criterion(nn.Module):
    """Loss terms of one stage over assigned priors.

    Args:
        num_classes: C.
        coder: encodes the target boxes.
        losses: named terms; an entry that is None is left out.
        loss_normalizer: what the costs of each image are divided by; one for all terms, or one for
            each by its name.
        loss_weights: by the name of a term, named weights of its costs.
        mining: which priors count; all of them if None.

    Raises:
        ValueError: a part breaks its contract, a weight is for a term that is not there or for
            other classes, a term has no normaliser, or there is a mining beside a term that selects
            by itself.
    """

    def __init__(
        self,
        num_classes: int,
        coder: Coder,
        losses: dict[str, LossTerm | None],
        loss_normalizer: LossNormalizers,
        loss_weights: LossWeights | None = None,
        mining: Mining | None = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.coder = num_classes, coder
        self.losses = nn.ModuleDict(present(losses))
        self.normalizers = _by_term(loss_normalizer, list(self.losses))
        self.alike = _alike(present(losses), self.normalizers)
        self.loss_weights = _modules(loss_weights or {}, list(self.losses), num_classes)
        self.mining = mining
        if mining is not None:
            check_contract(mining, Mining)
        _check_mining(mining, present(losses))

    def forward(
        self, predictions: Predictions, boxes: Tensor, targets: Targets, assignment: Assignment
    ) -> dict[str, Tensor]:
        """Each term by its name, a scalar.

        Args:
            predictions: of N priors.
            boxes: [B, N, 4] decoded.
            targets: padded objects.
            assignment: of the N priors to the objects.
        """
        matched = self.match(predictions, boxes, targets, assignment)
        costs = {name: self._costs(name, matched) for name in self.losses}
        kept = torch.ones_like(matched.counted)
        if self.mining is not None:
            kept = self._mined(self.mining, costs, matched)
            costs = {name: cost * kept for name, cost in costs.items()}
        divisors = self.divisors(matched, kept)
        return {name: total(cost, divisors[name]) for name, cost in costs.items()}

    def kept(
        self, predictions: Predictions, boxes: Tensor, targets: Targets, assignment: Assignment
    ) -> Tensor:
        """Which priors the mining would keep, [B, N] float32 0 or 1; arguments as `forward`."""
        assert self.mining is not None
        matched = self.match(predictions, boxes, targets, assignment)
        costs = {name: self._costs(name, matched) for name in self.losses}
        return self._mined(self.mining, costs, matched)

    def _mined(self, mining: Mining, costs: dict[str, Tensor], matched: Matched) -> Tensor:
        kept = mining(torch.stack(list(costs.values())).sum(0).detach(), matched)
        _check_shape(kept, matched, mining, "which priors count")
        return kept

    def divisors(self, matched: Matched, kept: Tensor) -> dict[str, Tensor]:
        """What the costs of each image are divided by, [B] for each term; `kept` [B, N] is 0 or 1.

        Terms that count alike by one normaliser share one, which asks other devices once.
        """
        found: dict[str, Tensor] = {}
        for names in self.alike:
            positive = _counts(self.losses[names[0]].counts, matched) * kept
            divisor = self.normalizers[names[0]](positive, matched.counted * kept)
            found |= dict.fromkeys(names, divisor)
        return found

    def _costs(self, name: str, matched: Matched) -> Tensor:
        """What each prior costs by one term, [B, N]."""
        costs = self.losses[name](matched)
        _check_shape(costs, matched, self.losses[name], "what each prior costs")
        for weight in self.loss_weights[name].children():
            factors = weight(matched)
            _check_shape(factors, matched, weight, "a factor for each prior")
            costs = costs * factors
        return costs

    def match(
        self, predictions: Predictions, boxes: Tensor, targets: Targets, assignment: Assignment
    ) -> Matched:
        """Every prior with its target; an unmatched prior is its own, so all terms stay finite."""
        positive = assignment.positive
        objects = gather_rows(targets.boxes, assignment.matched)
        target_boxes = torch.where(positive[..., None], objects, predictions.priors.boxes)
        labels = targets.labels.gather(1, assignment.matched)
        scores = assignment.scores
        if scores is None:
            scores = self._one_hot(labels, positive)
        return Matched(
            predictions=predictions,
            boxes=boxes,
            target_boxes=target_boxes,
            target_deltas=self.coder.encode_own(target_boxes, predictions.priors, labels),
            target_scores=scores,
            labels=labels,
            positive=positive.float(),
            counted=(~assignment.ignored).float(),
            pairs=self._encoded(assignment.pairs, predictions.priors),
        )

    def _encoded(self, pairs: Pairs | None, priors: Priors) -> Pairs | None:
        """The pairs with deltas."""
        if pairs is None:
            return None
        rows = PriorRows(
            gather_rows(priors.boxes, pairs.prior),
            priors.stride[pairs.prior],
            priors.level[pairs.prior],
        )
        return pairs._replace(deltas=self.coder.encode(pairs.boxes, rows))

    def _one_hot(self, labels: Tensor, positive: Tensor) -> Tensor:
        classes = torch.arange(self.num_classes, device=labels.device)
        return ((labels[..., None] == classes) & positive[..., None]).float()


def _counts(kind: Any, matched: Matched) -> Tensor:
    """What a `LossTerm` counts of each prior, [B, N] float32."""
    if kind == "peaks":
        return (matched.target_scores == 1).float().sum(-1)
    return matched.positive if kind == "priors" else of_priors(paired_objects(matched)[1], matched)


def _check_shape(given: Tensor, matched: Matched, part: nn.Module, meaning: str) -> None:
    """Refuse anything but [B, N], which would be broadcast or summed to a wrong loss in silence."""
    if given.shape != matched.positive.shape:
        raise ValueError(
            f"{type(part).__name__} gave {list(given.shape)}, expected {meaning}, [B, N] = "
            f"{list(matched.positive.shape)}: sum over everything but images and priors, and "
            "leave the mean to the criterion"
        )


def present(losses: Mapping[str, LossTerm | None]) -> dict[str, LossTerm]:
    """The terms that are not left out.

    Raises:
        ValueError: one lacks an attribute of its contract.
    """
    terms = {name: term for name, term in losses.items() if term is not None}
    for term in terms.values():
        check_contract(term, LossTerm)
    return terms


def _by_term(normalizer: LossNormalizers, terms: list[str]) -> dict[str, LossNormalizer]:
    """The normaliser of each term.

    Raises:
        ValueError: some have one of their own, and a term has none.
    """
    if not isinstance(normalizer, Mapping):
        return dict.fromkeys(terms, normalizer)
    lacking = [name for name in terms if name not in normalizer]
    if lacking:
        raise ValueError(
            f"loss_normalizer has one for {', '.join(normalizer)} each, but none for the term "
            f"{lacking[0]!r}: add part.loss_normalizer.{lacking[0]}, or choose one for all terms, "
            "such as loss_normalizer=positives"
        )
    return {name: normalizer[name] for name in terms}


def _alike(losses: dict[str, LossTerm], normalizers: dict[str, LossNormalizer]) -> list[list[str]]:
    """Names of the terms, those together that count alike by one normaliser."""
    groups: dict[tuple[int, str], list[str]] = {}
    for name, term in losses.items():
        groups.setdefault((id(normalizers[name]), term.counts), []).append(name)
    return list(groups.values())


def _modules(weights: LossWeights, terms: list[str], num_classes: int) -> nn.ModuleDict:
    """The weights of each term; most have none.

    Raises:
        ValueError: one breaks its contract, is for a term that is not there, or for other classes.
    """
    unknown = [f"{name}.{'/'.join(weights[name])}" for name in weights if name not in terms]
    if unknown:
        raise ValueError(
            f"part.loss_weights.{unknown[0]} is for a loss term {unknown[0].split('.')[0]!r}, "
            f"but there are only {', '.join(terms)}"
        )
    for name, named in weights.items():
        for weight in named.values():
            check_contract(weight, LossWeight)
            _check_classes(weight, name, num_classes)
    return nn.ModuleDict({name: nn.ModuleList(weights.get(name, {}).values()) for name in terms})


def _check_classes(weight: LossWeight, term: str, num_classes: int) -> None:
    """Refuse weights of classes that the predictions do not have, as where all are "object"."""
    if weight.classes not in (None, num_classes):
        raise ValueError(
            f"part.loss_weights.{term}: {type(weight).__name__} tells {weight.classes} classes "
            f"apart, but the head that it weighs predicts {num_classes}: leave it out, or give it "
            "to a stage that predicts the classes"
        )


def _check_mining(mining: Mining | None, losses: dict[str, LossTerm]) -> None:
    """Refuse two choices of priors: the second would see no costs of what the first left out."""
    names = [type(term).__name__ for term in losses.values() if term.selects]
    if mining is not None and names:
        raise ValueError(
            f"{type(mining).__name__} chooses which priors count by what they cost, but "
            f"{names[0]} has chosen already: choose class_loss=softmax, or leave it"
        )
