"""Heads: from feature levels to losses and candidates."""

from typing import Any, Protocol

from torch import Tensor

from detectors.structures import Assignment, Candidates, Priors, Targets


class Head(Protocol):
    """What every head offers."""

    def __call__(
        self, features: list[Tensor], frames: Tensor, targets: Targets | None = None
    ) -> Any:
        """Output of the network part.

        Args:
            features: per level [B, C, H, W], finest first.
            frames: [B, 4] the part of the canvas that each picture fills.
            targets: given in training, for heads that sample between their stages.
        """
        ...

    def loss(self, output: Any, targets: Targets) -> dict[str, Tensor]:
        """Weighted terms by name, scalars."""
        ...

    def assign(self, output: Any, targets: Targets) -> tuple[Priors, Assignment]:
        """Priors, and which object each is to predict; of several heads or stages, one of them."""
        ...

    def detect(self, output: Any) -> Candidates:
        """Everything that was predicted, decoded and scored."""
        ...
