"""Augmentation: what happens to one image, and what makes one of several; with their contracts."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated

import numpy as np

from detectors.structures import Sample


class Transform(ABC):
    """Changes one sample."""

    scale_free: Annotated[
        bool,
        "whether it means the same at any resolution of the picture, keeps its size and writes to "
        "no image that it is given; where all are so, they see the picture as resized for the "
        "network",
    ] = False

    @abstractmethod
    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The changed sample; all chance comes from `rng`."""


class Mix(ABC):
    """Makes one sample out of several, all of them augmented and of one size."""

    partners: Annotated[int, "how many further samples it needs"]
    probability: Annotated[float, "that it happens at all, in [0, 1]"]

    @abstractmethod
    def __call__(self, samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
        """One sample; all chance comes from `rng`.

        Args:
            samples: the one asked for, then its partners.
        """
