"""Tricks that change a batch on the device, before the training step sees it."""

from typing import Protocol

from detectors.detector import Detector
from detectors.structures import Batch, Progress


class BatchTrick(Protocol):
    """A change of the batch that looks at the detector, whose state stays as it was."""

    def __call__(self, batch: Batch, detector: Detector, progress: Progress, seed: int) -> Batch:
        """The batch to train on.

        Args:
            batch: as the loader or the trick before gave it.
            detector: as it is in this step.
            progress: how far the run is.
            seed: of all that the trick draws, the same on all devices. The training step draws
                nothing again that this seed does not fix.
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
