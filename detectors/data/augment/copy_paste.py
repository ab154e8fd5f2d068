"""Lays parts of one picture over another, at the same place.

The box of an object that is partly covered shrinks to the pixels that still show; the object is
dropped where less than `visible` of its area shows.
"""

from collections.abc import Sequence

import numpy as np

from detectors.data.augment import Mix
from detectors.data.augment.joining import hull, joined, largest
from detectors.data.augment.occlusion import cut_to_shown, pixels, without_hidden
from detectors.data.augment.transforms import chosen, visible_rows
from detectors.data.ranges import above, chance, check, number, showing, within
from detectors.structures import Sample


class CutMix(Mix):
    """Pastes a rectangle of one partner onto the sample, at the same place.

    Yun et al. 2019, Algorithm A1 and eq. 2, whose rectangle has the share 1 - lambda of the area,
    lambda from a Beta distribution, and its centre anywhere; they mix class labels, here boxes are
    cut instead: those of the partner to the rectangle, those of the sample to what it leaves.

    Args:
        alpha: of the Beta distribution; 1 is uniform, as published (sec. 4.1).
        visible: least part of an object's area that is kept, in (0, 1].
        most: objects that are kept at most, the largest.
        probability: that a sample is mixed.

    Raises:
        ValueError: a number is out of its range.
    """

    partners = 1

    def __init__(
        self,
        alpha: float = 1.0,
        visible: float = 0.1,
        most: int = 200,
        probability: float = 0.5,
    ) -> None:
        mixing = above("alpha", alpha, 0)
        check("cutmix", mixing, chance(probability), showing(visible), number(most))
        self.alpha, self.visible, self.most = alpha, visible, most
        self.probability = probability

    def __call__(self, samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
        height, width = samples[0].image.shape[:2]
        share = 1 - rng.beta(self.alpha, self.alpha)
        top, left, bottom, right = rectangle(height, width, share, rng)
        place = np.array([left, top, right, bottom])
        return largest(cutmix(samples, place, self.visible), self.most)


class CopyPaste(Mix):
    """Pastes objects of one partner onto the sample, as the rectangles of their boxes, in place.

    Ghiasi et al. 2021, sec. 3: a random part of the objects of another picture; objects below are
    cut or, where hidden, dropped. They paste along masks; boxes bring their background with them.

    Args:
        share: of the partner's objects, each drawn independently; crowds and difficult ones are not
            pasted.
        visible: least part of an object's area that is kept, in (0, 1].
        most: objects that are kept at most, the largest.
        probability: that a sample is mixed.

    Raises:
        ValueError: a number is out of its range.
    """

    partners = 1

    def __init__(
        self,
        share: float = 0.5,
        visible: float = 0.1,
        most: int = 200,
        probability: float = 0.5,
    ) -> None:
        taken = within("share", share, "(0, 1]")
        check("copy_paste", taken, chance(probability), showing(visible), number(most))
        self.share, self.visible, self.most = share, visible, most
        self.probability = probability

    def __call__(self, samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
        taken = rng.random(len(samples[1].labels)) < self.share
        return largest(copy_paste(samples, taken & ~samples[1].ignore, self.visible), self.most)


def cutmix(samples: Sequence[Sample], place: np.ndarray, visible: float) -> Sample:
    """The first sample with a rectangle of the second.

    Args:
        samples: two of one image size.
        place: [4] xyxy whole pixels inside the image.
        visible: least part of an object's area that is kept.
    """
    first, second = samples
    covered = np.zeros(first.image.shape[:2], bool)
    covered[place[1] : place[3], place[0] : place[2]] = True
    full = second.boxes
    boxes = np.clip(full, place[[0, 1, 0, 1]], place[[2, 3, 2, 3]]).astype(np.float32)
    inside = chosen(second._replace(boxes=boxes), visible_rows(boxes, full, visible))
    return _pasted(first, inside, covered, visible)


def copy_paste(samples: Sequence[Sample], taken: np.ndarray, visible: float) -> Sample:
    """The first sample with objects of the second.

    Args:
        samples: two of one image size.
        taken: [n] bool, which objects of the second.
        visible: least part of an object's area that is kept.
    """
    first, second = samples
    covered = np.zeros(first.image.shape[:2], bool)
    for left, top, right, bottom in pixels(second.boxes[taken], covered.shape):
        covered[top:bottom, left:right] = True
    return _pasted(first, chosen(second, taken), covered, visible)


def _pasted(first: Sample, second: Sample, covered: np.ndarray, visible: float) -> Sample:
    """The first under the second where `covered` [H, W], with all objects of the second."""
    image = np.where(covered[..., None], second.image, first.image)
    below = cut_to_shown(without_hidden(first, covered, visible), covered)
    return joined(first, image, [below, second], hull(first.frame, second.frame))


def rectangle(
    height: int, width: int, share: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """(top, left, bottom, right): of the image's shape and that share of its area (CutMix).

    Its centre is anywhere in the image, which clips it, so its area may be smaller (Algorithm A1,
    lines 5 to 13).
    """
    whole = np.array([height, width])
    center, sides = rng.uniform(0, whole), whole * np.sqrt(share)
    top, left = np.rint(np.maximum(center - sides / 2, 0)).astype(int).tolist()
    bottom, right = np.rint(np.minimum(center + sides / 2, whole)).astype(int).tolist()
    return top, left, bottom, right
