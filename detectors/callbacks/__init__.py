"""Lightning callbacks: average weights, freeze a backbone, stop, record and show a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


@runtime_checkable
class Checking(Protocol):
    """A callback that looks at the trainer before any data is read."""

    def check(self, trainer: Trainer) -> None:
        """Refuse a trainer with which it would be without effect, or in the way.

        Raises:
            ValueError: the reason, and what to choose instead.
        """
        ...
