"""YOLOX's MixUp: half of a picture and half of another one at another scale."""

from collections.abc import Sequence

import cv2
import numpy as np

from detectors.data.augment import Mix
from detectors.data.augment.joining import hull, joined, largest
from detectors.data.augment.ssd_crop import KEEP_ALL
from detectors.data.augment.transforms import chosen, mapped, resized, window
from detectors.data.ranges import at_least, chance, check, factors, number
from detectors.structures import Sample


class JitteredMixUp(Mix):
    """The sample and a partner that is scaled, mirrored and cut, half of each.

    YOLOX (Ge et al. 2021, sec. 2.1; released `mosaicdetection.py`, `mixup`). A smaller partner lies
    in the upper left corner of a black canvas; of a larger one a window at a random place is seen.
    All objects of both count that are longer than `smallest` along both sides. A sample without
    objects stays as it is; the release also draws until the partner has some.

    Args:
        scale: range of the partner's factor.
        flip: probability that the partner is mirrored.
        smallest: pixels.
        most: objects that are kept at most, the largest.
        probability: that a sample is mixed.

    Raises:
        ValueError: a number is out of its range.
    """

    partners = 1

    def __init__(
        self,
        scale: Sequence[float] = (0.5, 1.5),
        flip: float = 0.5,
        smallest: float = 1.0,
        most: int = 120,
        probability: float = 1.0,
    ) -> None:
        lengths = at_least("smallest", smallest, 0), number(most)
        check(
            "jittered mixup", factors("scale", scale), chance(flip), *lengths, chance(probability)
        )
        self.scale, self.flip, self.smallest = (scale[0], scale[1]), flip, smallest
        self.most, self.probability = most, probability

    def __call__(self, samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
        factor, flips, place = rng.uniform(*self.scale), rng.random() < self.flip, rng.random(2)
        first, other = samples
        if not len(first.labels):
            return first
        seen = jittered(other, float(factor), bool(flips), place)
        image = cv2.addWeighted(first.image, 0.5, seen.image, 0.5, 0)
        both = joined(first, image, [first, seen], hull(first.frame, seen.frame))
        long = (both.boxes[:, 2:] - both.boxes[:, :2] > self.smallest).all(axis=1)
        return largest(chosen(both, long), self.most)


def jittered(sample: Sample, factor: float, flips: bool, place: np.ndarray) -> Sample:
    """The sample resized and perhaps mirrored, on a canvas of its own size.

    Args:
        factor: of the sides.
        flips: left and right.
        place: [2] in [0, 1), of the window along rows and columns where the sample is larger.
    """
    size = np.array(sample.image.shape[:2])
    height, width = np.maximum((size * factor).astype(int), 1).tolist()
    growth = np.array([width, height]) / size[::-1]
    sample = mapped(sample, resized(sample.image, height, width), growth, np.zeros(2))
    if flips:
        sample = mapped(sample, cv2.flip(sample.image, 1), np.array([-1, 1]), np.array([width, 0]))
    room = np.maximum((height, width) - size, 0)
    top, left = np.floor(place * room).astype(int).tolist()
    return window(sample, top, left, size[0], size[1], KEEP_ALL, 0)
