"""Losses say what each prior costs; with the contracts of all that makes a scalar of it.

Costs are one number per prior, [B, N], with every shape static. They are masked, weighted and
mined, summed over each image, divided by the image's normaliser and added up over the images.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal, Protocol

from torch import Tensor, nn

from detectors.coders import DeltaKind
from detectors.scores import ScoreActivation
from detectors.structures import Matched


class LossTerm(nn.Module, ABC):
    """What every prior costs by one criterion; its own weight and mask are applied already."""

    needs_quality: Annotated[bool, "whether it teaches the quality logit of a prior"] = False
    needs_background: Annotated[bool, "whether the first class logit is the background's"] = False
    score_activation: Annotated[
        ScoreActivation, "what makes scores of the logits it teaches: logistic, softmax or linear"
    ] = "logistic"
    deltas: Annotated[
        DeltaKind | None,
        "whether the deltas it looks at are the four numbers of a box, a distribution for each "
        "side, a Gaussian for each, or the two of a point; None if it looks at none",
    ] = None
    selects: Annotated[bool, "whether it chooses which priors count, so that no mining may"] = False
    counts: Annotated[
        Literal["priors", "objects", "peaks"],
        "what of a positive prior the normaliser counts: the prior, the objects that it is paired "
        "with, or the classes whose target is one",
    ] = "priors"

    @abstractmethod
    def forward(self, matched: Matched) -> Tensor:
        """Costs [B, N], zero where a prior does not count."""


class LossWeight(nn.Module, ABC):
    """What the costs of each prior are multiplied by."""

    classes: Annotated[int | None, "how many classes it tells apart; None if it tells none"] = None

    @abstractmethod
    def forward(self, matched: Matched) -> Tensor:
        """Factors [B, N], float32, without gradient."""


class Mining(nn.Module, ABC):
    """Chooses which priors count by what they cost now."""

    most: Annotated[
        int | None, "how many priors of an image it keeps at most; None if it may keep any number"
    ] = None

    @abstractmethod
    def forward(self, costs: Tensor, matched: Matched) -> Tensor:
        """[B, N] float32: 1 for priors that count, 0 for the others.

        Args:
            costs: [B, N], the sum of all terms, without gradient.
            matched: the same priors with their targets.
        """


class LossNormalizer(Protocol):
    """What the summed costs of each image are divided by."""

    def __call__(self, positive: Tensor, counted: Tensor) -> Tensor:
        """[B], above zero; the same for one process as for many.

        Args:
            positive: [B, N] float32: 1 for priors that have an object, or what a `LossTerm` counts.
            counted: [B, N] float32: 1 for priors that are not ignored.
        """
        ...
