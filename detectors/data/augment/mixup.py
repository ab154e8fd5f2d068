"""MixUp for detection: blends two pictures and keeps the objects of both."""

from collections.abc import Sequence

import cv2
import numpy as np

from detectors.data.augment import Mix
from detectors.data.augment.joining import hull, joined, largest
from detectors.data.augment.transforms import chosen
from detectors.data.ranges import above, chance, check, number, within
from detectors.structures import Sample


class MixUp(Mix):
    """The sample and one partner, their pixels added in a drawn proportion.

    Zhang et al. 2018 with their alignment for detection (Zhang et al. 2019, "Bag of Freebies for
    Training Object Detection Neural Networks", sec. 3.1): both pictures keep their places, and all
    their objects count. Theirs weighs the loss of each object by the share of its picture; here, as
    in darknet's `mixup=1`, all count alike. So objects of a picture that has less than `visible` of
    the mixture are left out.

    Args:
        alpha: both parameters of the Beta distribution of the share; darknet's fixed half is the
            limit of large ones.
        visible: least share of a picture whose objects are kept, in [0, 0.5].
        most: objects that are kept at most, the largest.
        probability: that a sample is mixed.

    Raises:
        ValueError: a number is out of its range.
    """

    partners = 1

    def __init__(
        self,
        alpha: float = 1.5,
        visible: float = 0.1,
        most: int = 200,
        probability: float = 0.5,
    ) -> None:
        mixing, half = above("alpha", alpha, 0), within("visible", visible, "[0, 0.5]")
        check("mixup", mixing, half, chance(probability), number(most))
        self.alpha, self.visible, self.most = alpha, visible, most
        self.probability = probability

    def __call__(self, samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
        share = float(rng.beta(self.alpha, self.alpha))
        return largest(mixup(samples, share, self.visible), self.most)


def mixup(samples: Sequence[Sample], share: float, visible: float) -> Sample:
    """`share` of the first picture and the rest of the second, with the objects of both.

    Args:
        samples: two of one image size.
        share: in [0, 1].
        visible: objects of a picture of a smaller share are left out.
    """
    first, second = samples
    image = cv2.addWeighted(first.image, share, second.image, 1 - share, 0)
    parts = [
        sample if part >= visible else chosen(sample, np.zeros(len(sample.labels), bool))
        for sample, part in ((first, share), (second, 1 - share))
    ]
    return joined(first, image, parts, hull(first.frame, second.frame))
