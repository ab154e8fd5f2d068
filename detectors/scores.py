"""Scores in [0, 1] of logits and quality, and the contract that all ways to make them keep."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from torch import Tensor

from detectors.ranges import Share

ScoreActivation = Literal["logistic", "softmax", "linear"]


class Score(ABC):
    """Makes scores of logits and quality.

    Two scores are equal if they always give the same, which an assigner and its head must do: so
    each is a frozen dataclass.
    """

    needs_quality: Annotated[bool, "whether it cannot do without a quality logit"] = False
    needs_background: Annotated[bool, "whether the first logit is the background's"] = False
    score_activation: Annotated[
        ScoreActivation, "what makes scores of the class logits: logistic, softmax or linear"
    ] = "logistic"

    @abstractmethod
    def __call__(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """Scores of every prior and class.

        Args:
            logits: [B, N, C], or [B, N, 1 + C] where background comes first.
            quality: [B, N] logits, or None where no quality is predicted.

        Returns:
            [B, N, C] in [0, 1].
        """


@dataclass(frozen=True)
class ClassAlone(Score):
    """Independent logistic classes (RetinaNet, CenterNet)."""

    def __call__(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """[B, N, C]."""
        return logits.sigmoid()


@dataclass(frozen=True)
class RootOfClass(Score):
    """The root of independent logistic classes (CenterNet2's release): same ranking."""

    def __call__(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """[B, N, C]."""
        return logits.sigmoid().sqrt()


@dataclass(frozen=True)
class ClassTimesQuality(Score):
    """Class times objectness (YOLOv3), or class times centre-ness (FCOS, sec. 3.4)."""

    needs_quality = True

    def __call__(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """[B, N, C]."""
        return logits.sigmoid() * _present(quality).sigmoid()[..., None]


@dataclass(frozen=True)
class RootOfClassTimesQuality(Score):
    """The geometric mean of class and centre-ness (released FCOS): same ranking, higher numbers."""

    needs_quality = True

    def __call__(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """[B, N, C]."""
        return ClassTimesQuality()(logits, quality).sqrt()


@dataclass(frozen=True)
class GatedRoot(Score):
    """The geometric mean of class and quality where the class alone exceeds `least`, 0 elsewhere.

    The releases of ATSS and PAA choose candidates so, before they multiply (`inference.py`).
    """

    least: Share = 0.05

    needs_quality = True

    def __call__(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """[B, N, C]."""
        root = RootOfClassTimesQuality()(logits, quality)
        return torch.where(logits.sigmoid() > self.least, root, 0.0)


@dataclass(frozen=True)
class SoftmaxWithoutBackground(Score):
    """Softmax over background and C classes, of which the C classes are kept (Fast R-CNN)."""

    needs_background = True
    score_activation = "softmax"

    def __call__(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """[B, N, C] of logits [B, N, 1 + C]."""
        return logits.softmax(-1)[..., 1:]


@dataclass(frozen=True)
class SoftmaxAlone(Score):
    """Exclusive classes without background: one of them is there."""

    score_activation = "softmax"

    def __call__(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """[B, N, C]."""
        return logits.softmax(-1)


@dataclass(frozen=True)
class SoftmaxTimesQuality(Score):
    """Exclusive classes times objectness (YOLOv2; darknet `src/region_layer.c`)."""

    needs_quality = True
    score_activation = "softmax"

    def __call__(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """[B, N, C]."""
        return logits.softmax(-1) * _present(quality).sigmoid()[..., None]


@dataclass(frozen=True)
class LinearClassTimesQuality(Score):
    """Class times confidence without any activation (YOLOv1, eq. 1), cut to [0, 1].

    The cut is ours: darknet ranks by what exceeds one as well. As there, two negative numbers make
    a positive score.
    """

    needs_quality = True
    score_activation = "linear"

    def __call__(self, logits: Tensor, quality: Tensor | None) -> Tensor:
        """[B, N, C]."""
        return (logits * _present(quality)[..., None]).clamp(0, 1)


def root_of_product(scores: Tensor, proposed: Tensor) -> Tensor:
    """One score [B, R, C] of a second stage's [B, R, C] and of its proposals' [B, R].

    Zhou et al. 2021, "Probabilistic two-stage detection", eq. 2; the release takes the root
    (`MULT_PROPOSAL_SCORE`). For the `joint_score` of a `TwoStageHead`.
    """
    return (scores * proposed[..., None]).sqrt()


def _present(quality: Tensor | None) -> Tensor:
    assert quality is not None, "check_compatibility asks for a loss and a tower with a quality"
    return quality
