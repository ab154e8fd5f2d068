"""What happens over time, around the steps: averaging, stopping, recording, showing."""

from typing import Protocol, runtime_checkable

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
