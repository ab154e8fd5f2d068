"""The head of every one-stage family, and of a region proposal network."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from detectors.coders import Coder
from detectors.heads.matching import Criterion, Normalizer
from detectors.heads.scores import needs_background, needs_quality
from detectors.priors import PriorGrid, check_levels
from detectors.structures import (
    Assignment,
    Candidates,
    FeatureSpec,
    Predictions,
    Priors,
    Targets,
)

Maps = tuple[Tensor, Tensor, Tensor | None]  # logits, deltas, quality: [B, A * x, H, W] of a level


class DenseHead(nn.Module):
    """Predicts, for every prior of every level, classes, a box and perhaps a quality.

    Args:
        specs: feature levels, finest first.
        num_classes: C.
        tower: `(specs, num_classes, per_cell) -> module` from features to `Maps` per level; says
            by `predicts_quality` whether there is one.
        priors: where predictions start from.
        coder: how deltas become boxes.
        assigner: which object a prior is to predict.
        losses: named loss terms; None leaves one out.
        score: `(logits, quality) -> scores`, one of `heads.scores`.
        normalizer: one of `losses.reduction`.

    Raises:
        ValueError: parts do not fit each other.
    """

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        tower: Callable[..., nn.Module],
        priors: PriorGrid,
        coder: Coder,
        assigner: nn.Module,
        losses: dict[str, nn.Module | None],
        score: Callable[[Tensor, Tensor | None], Tensor],
        normalizer: Normalizer,
    ) -> None:
        super().__init__()
        check_levels(priors.per_cell, specs)
        self.specs, self.priors, self.coder, self.assigner = specs, priors, coder, assigner
        self.tower = tower(specs, num_classes=num_classes, per_cell=priors.per_cell)
        self.criterion = Criterion(num_classes, coder, losses, normalizer)
        self.score = score
        _check_quality(self.tower, self.criterion.losses, score)
        _check_background(self.tower, self.criterion.losses, score)

    def forward(
        self, features: list[Tensor], frames: Tensor, targets: Targets | None = None
    ) -> Predictions:
        """Predictions of all priors, float32."""
        logits, deltas, quality = zip(*map(_flatten_level, self.tower(features)), strict=True)
        priors = self.priors(features, self.specs)
        return Predictions(
            logits=torch.cat(logits, dim=1),
            deltas=torch.cat(deltas, dim=1),
            quality=None if quality[0] is None else torch.cat(quality, dim=1),
            priors=priors,
        )

    def loss(self, output: Predictions, targets: Targets) -> dict[str, Tensor]:
        """Loss terms by name, scalars."""
        boxes = self.coder.decode(output.deltas, output.priors)
        return self.criterion(output, boxes, targets, self._assignment(output, boxes, targets))

    def assign(self, output: Predictions, targets: Targets) -> tuple[Priors, Assignment]:
        """All priors, and which object each is to predict."""
        boxes = self.coder.decode(output.deltas, output.priors)
        return output.priors, self._assignment(output, boxes, targets)

    def _assignment(self, output: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        return self.assigner(output, boxes.detach(), targets)

    def detect(self, output: Predictions) -> Candidates:
        """All priors, decoded and scored."""
        boxes = self.coder.decode(output.deltas, output.priors)
        return Candidates(boxes, self.score(output.logits, output.quality), output.priors)


def _check_quality(tower: nn.Module, losses: nn.ModuleDict, score: Callable) -> None:
    """Refuse to teach a quality that is not predicted, and to score by one that is not taught."""
    teachers = [type(term).__name__ for term in losses.values() if needs_quality(term)]
    if teachers and not getattr(tower, "predicts_quality", True):
        raise ValueError(
            f"{teachers[0]} teaches a quality, but {type(tower).__name__} predicts none: choose "
            "quality_loss=none and score=class, or tower=shared_quality or level"
        )
    if needs_quality(score) and not teachers:
        raise ValueError(
            f"{getattr(score, 'func', score).__name__} scores by a quality, but no loss teaches "
            "one: choose score=class, or a quality_loss and a tower that predicts what it teaches"
        )


def _check_background(tower: nn.Module, losses: nn.ModuleDict, score: Callable) -> None:
    """Refuse parts that do not agree whether background is a class of its own."""
    name, has = type(tower).__name__, getattr(tower, "predicts_background", False)
    teachers = [type(term).__name__ for term in losses.values() if needs_background(term)]
    scorer = getattr(score, "func", score).__name__
    if not has:
        takers = teachers + [scorer] * needs_background(score)
        if takers:
            raise ValueError(
                f"{takers[0]} takes background for a class, but {name} predicts none: choose "
                "another class_loss and score, such as bce and class, or tower=source"
            )
    elif not teachers or not needs_background(score):
        raise ValueError(
            f"{name} predicts background as a class, but {scorer if teachers else 'the class loss'}"
            " does not know it: choose class_loss=softmax or hard_negatives and score=softmax, or "
            "another tower"
        )


def _flatten_level(maps: Maps) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits [B, H W A, C], deltas [B, H W A, 4] and quality [B, H W A] of one level.

    The anchor index varies fastest, then the column, then the row.
    """
    logits, deltas, quality = maps
    per_cell = deltas.shape[1] // 4
    return (
        _rows(logits, logits.shape[1] // per_cell),
        _rows(deltas, 4),
        None if quality is None else _rows(quality, 1).squeeze(-1),
    )


def _rows(level: Tensor, width: int) -> Tensor:
    """[B, A * width, H, W] as float32 [B, H * W * A, width]."""
    return level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, width).float()
