"""Whether the parts of a head mean the same by their numbers."""

from collections.abc import Callable

from torch import nn

from detectors.coders import Coder
from detectors.heads.scores import needs_background, needs_quality, score_activation


def check_compatibility(
    predictor: nn.Module, losses: nn.ModuleDict, score: Callable, coder: Coder
) -> None:
    """Refuse parts that disagree about quality, background, what makes a score, or the deltas.

    Args:
        predictor: a tower or a region head, which says by `predicts_quality` and
            `predicts_background` what there is beside the classes.
        losses: named loss terms, which say by `deltas` whether they look at the four numbers of a
            "box" or at a "distribution" for each.
        score: one of `heads.scores`.
        coder: what decodes the deltas.

    Raises:
        ValueError: names the two parts and what fits.
    """
    _check_quality(predictor, losses, score)
    _check_background(predictor, losses, score)
    _check_squashing(losses, score)
    _check_deltas(losses, coder)


def check_ranking(assigner: nn.Module, score: Callable) -> None:
    """Refuse an assigner that looks at other scores than those of its head.

    Raises:
        ValueError: names both, and how the assigner gets the same.
    """
    own = getattr(assigner, "score", score)
    looked_at, made = (getattr(function, "func", function) for function in (own, score))
    if looked_at is not made:
        raise ValueError(
            f"{type(assigner).__name__} looks at scores by {looked_at.__name__}, but the head that "
            f"it assigns for makes them by {made.__name__}: choose assigner=atss, or set "
            f"part.assigner.score={{_target_:{made.__module__}.{made.__qualname__},_partial_:true}}"
        )


def _check_quality(predictor: nn.Module, losses: nn.ModuleDict, score: Callable) -> None:
    """Refuse to teach a quality that is not predicted, and to score by one that is not taught."""
    teachers = [type(term).__name__ for term in losses.values() if needs_quality(term)]
    if teachers and not getattr(predictor, "predicts_quality", True):
        raise ValueError(
            f"{teachers[0]} teaches a quality, but {type(predictor).__name__} predicts none: "
            "choose quality_loss=none and score=class, or tower=shared_quality or level"
        )
    if needs_quality(score) and not teachers:
        raise ValueError(
            f"{getattr(score, 'func', score).__name__} scores by a quality, but no loss teaches "
            "one: choose score=class, or a quality_loss and a tower that predicts what it teaches"
        )


def _check_background(predictor: nn.Module, losses: nn.ModuleDict, score: Callable) -> None:
    """Refuse parts that do not agree whether background is a class of its own."""
    name, has = type(predictor).__name__, getattr(predictor, "predicts_background", False)
    teachers = [type(term).__name__ for term in losses.values() if needs_background(term)]
    scorer = getattr(score, "func", score).__name__
    if not has:
        takers = teachers + [scorer] * needs_background(score)
        if takers:
            raise ValueError(
                f"{takers[0]} takes background for a class, but {name} predicts none: choose "
                "another class_loss and score, such as bce and class, or tower=ssd"
            )
    elif not teachers or not needs_background(score):
        raise ValueError(
            f"{name} predicts background as a class, but {scorer if teachers else 'the class loss'}"
            " does not know it: choose class_loss=softmax or hard_negatives and score=softmax, or "
            "another tower"
        )


def _check_squashing(losses: nn.ModuleDict, score: Callable) -> None:
    """Refuse a term that teaches scores made otherwise than the score makes them."""
    wanted = score_activation(score)
    quality = "linear" if wanted == "linear" else "logistic"
    for name, expected in {"class": wanted, "quality": quality}.items():
        if name in losses and score_activation(losses[name]) != expected:
            raise ValueError(
                f"{type(losses[name]).__name__} teaches {score_activation(losses[name])} scores, "
                f"but {getattr(score, 'func', score).__name__} takes {expected} ones: choose "
                f"{name}_loss and score of one kind"
            )


def _check_deltas(losses: nn.ModuleDict, coder: Coder) -> None:
    """Refuse a term that looks at other deltas than the coder decodes."""
    decoded = "box" if getattr(coder, "numbers", 4) == 4 else "distribution"
    for name, term in losses.items():
        if getattr(term, "deltas", decoded) != decoded:
            raise ValueError(
                f"the {name} loss {type(term).__name__} looks at a {term.deltas}, but "
                f"{type(coder).__name__} decodes a {decoded}: choose a loss on decoded boxes, such "
                "as box_loss=giou, or another coder"
            )
