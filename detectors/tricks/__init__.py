"""What changes a batch on the device, before the training step sees it."""

from typing import NamedTuple, Protocol

from detectors.detector import Detector
from detectors.structures import Batch


class Step(NamedTuple):
    """Where in a run a trick is applied."""

    made: int  # optimiser steps made so far
    total: int  # of the whole run
    seed: int  # of this mini-batch, the same on all devices


class BatchTrick(Protocol):
    """A change of the batch that looks at the detector, whose state stays as it was."""

    def __call__(self, batch: Batch, detector: Detector, step: Step) -> Batch:
        """The batch to train on; of all that is drawn, what `step.seed` does not fix is not
        drawn again by the training step.
        """
        ...

    def check(self, detector: Detector, canvas: tuple[int, int]) -> None:
        """Refuse a detector for which the trick means nothing.

        Args:
            canvas: (height, width) of images that it is trained on.

        Raises:
            ValueError: the reason, and what to choose instead.
        """
        ...
