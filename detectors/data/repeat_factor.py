"""Shows rare classes more often: repeat-factor sampling (Gupta et al. 2019, LVIS, appendix B)."""

import numpy as np

from detectors.data.ranges import check, within
from detectors.random_streams import stream
from detectors.structures import Annotations


class RepeatFactor:
    """How often each picture is seen in an epoch on average.

    A class that is in a part f of the pictures has the factor max(1, sqrt(threshold / f)), a
    picture the greatest of its classes'. Objects that are never assigned (crowds, difficult ones)
    do not count.

    Args:
        threshold: part of the pictures in which a class is seen often enough, in (0, 1].

    Raises:
        ValueError: the threshold is out of its range.
    """

    def __init__(self, threshold: float) -> None:
        check("class_balance", within("threshold", threshold, "(0, 1]"))
        self.threshold = threshold

    def factors(self, annotations: Annotations) -> np.ndarray:
        """[I] at least 1.

        Raises:
            ValueError: no class is rare enough, so that it would change nothing.
        """
        present = _presence(annotations)
        frequency = present.mean(axis=0)
        rare = (frequency > 0) & (frequency < self.threshold)
        if not rare.any():
            least = np.where(frequency > 0, frequency, 2).argmin()
            raise ValueError(
                "class_balance: every class is in enough pictures; the rarest, "
                f"{annotations.classes[least]}, is in {frequency[least]:.4f} of them; set "
                f"data.balance.threshold above that, found {self.threshold}"
            )
        growth = np.sqrt(self.threshold / np.where(rare, frequency, self.threshold))
        return np.where(present, growth, 1.0).max(axis=1)


def _presence(annotations: Annotations) -> np.ndarray:
    """[I, C] bool: which classes have an object in which picture."""
    counted = ~(annotations.crowd | annotations.difficult)
    present = np.zeros((len(annotations.image_ids), len(annotations.classes)), bool)
    present[annotations.owners()[counted], annotations.labels[counted]] = True
    return present


def repeated(factors: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """Keys of the pictures of an epoch: picture i for the k-th time is `i + k * len(factors)`.

    A picture is there floor(r) or ceil(r) times, on average as often as its factor r says. Unlike
    in the paper the roundings share one draw (systematic sampling), so that every epoch has the
    sum of the factors, rounded down or up, and all runs the same number of steps.
    """
    start = stream(seed, epoch, name="repeats of an epoch").random()
    ends = np.floor(start + np.cumsum(factors)).astype(np.int64)
    counts = np.diff(ends, prepend=0)
    pictures = np.repeat(np.arange(len(factors)), counts)
    rounds = np.arange(len(pictures)) - np.repeat(np.cumsum(counts) - counts, counts)
    return pictures + rounds * len(factors)
