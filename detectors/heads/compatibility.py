"""Checks that the parts of a head agree on what their numbers mean."""

from collections.abc import Callable, Iterable
from typing import Any

from detectors.assigners import Assigner
from detectors.coders import Coder
from detectors.contracts import made_by
from detectors.heads import RegionHead, Tower
from detectors.losses import LossTerm
from detectors.priors import PriorGrid
from detectors.scores import Score


def numbers_of(coder: Coder, maker: Callable[..., Any], remedy: str) -> dict[str, int]:
    """What a tower or region head is told of the numbers to regress; nothing where these are four.

    Args:
        coder: what decodes them.
        maker: makes the tower or region head.
        remedy: which others can regress so many.

    Raises:
        ValueError: it cannot.
    """
    if coder.numbers == 4:
        return {}
    made = made_by(maker)
    if not getattr(made, "takes_numbers", False):
        raise ValueError(
            f"{type(coder).__name__} decodes {coder.numbers} numbers of each prior, but "
            f"{made.__name__} regresses four: choose another coder, or {remedy}"
        )
    return {"numbers": coder.numbers}


def told_by(coder: Coder) -> tuple[str, ...]:
    """What candidates have beside boxes and scores where this coder decodes; see `Head.tells`."""
    return ("deviations",) if coder.kind == "gaussian" else ()


def check_compatibility(
    predictor: Tower | RegionHead, losses: dict[str, LossTerm], score: Score, coder: Coder
) -> None:
    """Refuse parts that disagree about quality, background, what makes a score, or the deltas.

    Every head learns classes and boxes.

    Args:
        predictor: what gives logits, deltas and perhaps a quality.
        losses: named loss terms.
        score: makes scores of the logits and the quality.
        coder: what decodes the deltas.

    Raises:
        ValueError: names the two parts and what fits.
    """
    _check_present(losses)
    _check_quality(predictor, losses.values(), score)
    _check_background(predictor, losses.values(), score)
    _check_activation(losses, score)
    _check_deltas(losses, coder)


def check_cells(tower: Tower, priors: PriorGrid) -> None:
    """Refuse a tower and priors of which only one takes a level for one cell.

    Raises:
        ValueError: names both, and what fits.
    """
    if tower.one_cell and not priors.one_cell:
        raise ValueError(
            f"{type(tower).__name__} predicts once for a level, but {type(priors).__name__} lays "
            "priors on each cell: choose priors=canvas, or another tower, such as tower=windows"
        )
    if priors.one_cell and not tower.one_cell:
        raise ValueError(
            f"{type(priors).__name__} has one prior for a level, but {type(tower).__name__} "
            "predicts for each cell: choose tower=global, or other priors, such as priors=points"
        )


def check_assigner(assigner: Assigner, losses: dict[str, LossTerm], score: Score) -> None:
    """Refuse an assigner that mistakes the head's logits, or gives targets of no loss's kind.

    It may score otherwise than the head, as PAA looks at the class alone where its head multiplies
    it by a quality.

    Raises:
        ValueError: names both, and what fits.
    """
    _check_classes(assigner, losses.values())
    taught = any(term.needs_quality for term in losses.values())
    if assigner.score is None or _of_one_kind(assigner.score, score, taught):
        return
    made = type(score)
    raise ValueError(
        f"{type(assigner).__name__} looks at scores by {type(assigner.score).__name__}, but the "
        f"head that it assigns for makes them by {made.__name__}: choose assigner=atss, or set "
        f"part.assigner.score={{_target_:{made.__module__}.{made.__qualname__}}}"
    )


def _of_one_kind(own: Score, score: Score, taught: bool) -> bool:
    """Whether one score understands the logits that the other does."""
    return (
        own.score_activation == score.score_activation
        and own.needs_background == score.needs_background
        and (taught or not own.needs_quality)
    )


def _check_classes(assigner: Assigner, losses: Iterable[LossTerm]) -> None:
    """Refuse class targets that are soft, or several, for a loss of exactly one class."""
    exclusive = [type(term).__name__ for term in losses if term.needs_background]
    if assigner.own_classes and exclusive:
        raise ValueError(
            f"{type(assigner).__name__} gives soft class targets, or several classes to a prior, "
            f"but {exclusive[0]} learns one class or background: choose assigner=bipartite or "
            "atss, or class_loss=bce, score=class and tower=level"
        )


def _check_present(losses: dict[str, LossTerm]) -> None:
    """Refuse a head that would never learn classes, or boxes."""
    for name in ("class", "box"):
        if name not in losses:
            raise ValueError(
                f"losses.{name} is null or missing, so the head would never learn it: choose a "
                f"{name}_loss"
            )


def _check_quality(predictor: Tower | RegionHead, losses: Iterable[LossTerm], score: Score) -> None:
    """Refuse to teach a quality that is not predicted, and to score by one that is not taught."""
    teachers = [type(term).__name__ for term in losses if term.needs_quality]
    if teachers and not predictor.predicts_quality:
        raise ValueError(
            f"{teachers[0]} teaches a quality, but {type(predictor).__name__} predicts none: "
            "choose quality_loss=none and score=class, or tower=shared_quality or level"
        )
    if score.needs_quality and not teachers:
        raise ValueError(
            f"{type(score).__name__} scores by a quality, but no loss teaches "
            "one: choose score=class, or a quality_loss and a tower that predicts what it teaches"
        )


def _check_background(
    predictor: Tower | RegionHead, losses: Iterable[LossTerm], score: Score
) -> None:
    """Refuse parts that do not agree whether background is a class of its own."""
    name, scorer = type(predictor).__name__, type(score).__name__
    teachers = [type(term).__name__ for term in losses if term.needs_background]
    if not predictor.predicts_background:
        takers = teachers + [scorer] * score.needs_background
        if takers:
            raise ValueError(
                f"{takers[0]} takes background for a class, but {name} predicts none: choose "
                "another class_loss and score, such as bce and class, or tower=ssd"
            )
    elif not teachers or not score.needs_background:
        raise ValueError(
            f"{name} predicts background as a class, but {scorer if teachers else 'the class loss'}"
            " does not know it: choose class_loss=softmax or hard_negatives and score=softmax, or "
            "another tower"
        )


def _check_activation(losses: dict[str, LossTerm], score: Score) -> None:
    """Refuse a term that teaches scores of another kind than the score makes."""
    wanted = score.score_activation
    quality = "linear" if wanted == "linear" else "logistic"
    for name, expected in {"class": wanted, "quality": quality}.items():
        if name in losses and losses[name].score_activation != expected:
            raise ValueError(
                f"{type(losses[name]).__name__} teaches {losses[name].score_activation} scores, "
                f"but {type(score).__name__} takes {expected} ones: choose "
                f"{name}_loss and score of one kind"
            )


def _fitting(coder: Coder) -> str:
    """A loss for what the coder decodes."""
    decoded = "a loss on decoded boxes, such as box_loss=giou"
    return "box_loss=offset" if coder.kind == "point" else decoded


def _check_deltas(losses: dict[str, LossTerm], coder: Coder) -> None:
    """Refuse a term that looks at other deltas than the coder decodes."""
    for name, term in losses.items():
        if term.deltas not in (None, coder.kind):
            raise ValueError(
                f"the {name} loss {type(term).__name__} looks at a {term.deltas}, but "
                f"{type(coder).__name__} decodes a {coder.kind}: choose {_fitting(coder)}, or "
                "another coder"
            )
        if name == "box" and term.deltas is None and coder.kind == "point":
            raise ValueError(
                f"the box loss {type(term).__name__} looks at decoded boxes, but "
                f"{type(coder).__name__} decodes points, which have no sides: choose "
                "box_loss=offset, or another coder"
            )
