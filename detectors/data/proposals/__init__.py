"""Proposals as data: made once for each picture, kept in a file, and fed to a second stage."""

from abc import ABC, abstractmethod

import numpy as np


class Method(ABC):
    """Makes proposals of a picture without knowing any class; parallel processes copy it."""

    @abstractmethod
    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[n, 4] float32 xyxy pixels of the image, the first ones to be preferred.

        Args:
            image: [H, W, 3] uint8 RGB.
            rng: all chance comes from it.
        """
