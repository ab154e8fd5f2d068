"""The head of every one-stage family, and of a region proposal network."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from detectors.assigners import Assigner
from detectors.coders import Coder
from detectors.contracts import check_contract
from detectors.heads import Head, Maps, Tower
from detectors.heads.compatibility import (
    check_assigner,
    check_cells,
    check_compatibility,
    numbers_of,
    told_by,
)
from detectors.heads.criterion import Criterion, LossNormalizers, LossWeights, present
from detectors.losses import LossTerm, Mining
from detectors.priors import PriorGrid, check_levels
from detectors.scores import Score
from detectors.structures import (
    Assignment,
    Candidates,
    FeatureSpec,
    Predictions,
    Priors,
    Targets,
)


class DenseHead(Head):
    """Predicts, for every prior of every level, classes, a box and perhaps a quality.

    Args:
        specs: feature levels, finest first.
        num_classes: C.
        tower: makes the tower, see there for its arguments.
        priors: where predictions start from.
        coder: how deltas become boxes.
        assigner: which object a prior is to predict.
        losses, loss_normalizer, loss_weights, mining: of the `Criterion`.
        score: makes scores of logits and quality.

    Raises:
        ValueError: a part breaks its contract, or parts do not fit each other.
    """

    def __init__(
        self,
        specs: list[FeatureSpec],
        num_classes: int,
        tower: Callable[..., Tower],
        priors: PriorGrid,
        coder: Coder,
        assigner: Assigner,
        losses: dict[str, LossTerm | None],
        score: Score,
        loss_normalizer: LossNormalizers,
        loss_weights: LossWeights | None = None,
        mining: Mining | None = None,
    ) -> None:
        super().__init__()
        check_contract(priors, PriorGrid)
        check_contract(coder, Coder)
        check_contract(assigner, Assigner)
        check_contract(score, Score)
        check_levels(priors.per_cell, specs)
        self.specs, self.priors, self.coder, self.assigner = specs, priors, coder, assigner
        numbers = numbers_of(coder, tower, "tower=shared or shared_quality")
        self.tower = tower(specs, num_classes=num_classes, per_cell=priors.per_cell, **numbers)
        check_contract(self.tower, Tower)
        check_cells(self.tower, priors)
        self.only_canvas = self.tower.only_canvas
        self.finds_points = coder.kind == "point"
        self.tells = told_by(coder)
        self.criterion = Criterion(
            num_classes, coder, losses, loss_normalizer, loss_weights, mining
        )
        self.score = score
        check_compatibility(self.tower, present(losses), score, coder)
        check_assigner(assigner, present(losses), score)

    def forward(
        self, features: list[Tensor], frames: Tensor, targets: Targets | None = None
    ) -> Predictions:
        """Predictions of all priors, float32."""
        levels = (_flatten_level(maps, self.coder.numbers) for maps in self.tower(features))
        logits, deltas, quality = zip(*levels, strict=True)
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

    def separate_levels(self) -> list[tuple[nn.Module, int]]:
        """Those of the tower."""
        return self.tower.separate_levels()

    def _assignment(self, output: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        return self.assigner(output, boxes.detach(), targets)

    def detect(self, output: Predictions) -> Candidates:
        """All priors, decoded and scored."""
        boxes = self.coder.decode(output.deltas, output.priors)
        scores = self.score(output.logits, output.quality)
        return Candidates(boxes, scores, output.priors, self.coder.deviations(output.deltas))


def _flatten_level(maps: Maps, numbers: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Logits [B, H W A, C], deltas [B, H W A, numbers] and quality [B, H W A] of one level.

    The anchor index varies fastest, then the column, then the row.
    """
    logits, deltas, quality = maps
    per_cell = deltas.shape[1] // numbers
    return (
        _rows(logits, logits.shape[1] // per_cell),
        _rows(deltas, numbers),
        None if quality is None else _rows(quality, 1).squeeze(-1),
    )


def _rows(level: Tensor, width: int) -> Tensor:
    """[B, A * width, H, W] as float32 [B, H * W * A, width]."""
    return level.permute(0, 2, 3, 1).reshape(level.shape[0], -1, width).float()
