"""Hides parts of a picture, so that a network learns to do without them.

Lengths are parts of the shorter side of the picture, so that they mean the same at any resolution;
only the picture is touched, never the grey around it. Boxes stay as they are, since the whole
object is to be found; an object of which less than `visible` still shows is dropped.
"""

from collections.abc import Sequence

import numpy as np

from detectors.data.augment import Transform
from detectors.data.augment.occlusion import without_hidden
from detectors.data.ranges import above, chance, check, showing, within
from detectors.structures import Sample

MEAN = (124, 116, 104)  # RGB of ImageNet's pictures, 0.485, 0.456, 0.406 of 255


class Cutout(Transform):
    """Hides one square, its centre anywhere, so that it may reach over the border.

    DeVries & Taylor 2017, sec. 3.2.

    Args:
        side: of the square.
        fill: RGB; theirs is the mean, which is zero to the network.
        visible: least part of an object that shows, in (0, 1].
        probability: that it happens.

    Raises:
        ValueError: a number is out of its range.
    """

    scale_free = True

    def __init__(
        self,
        side: float = 0.5,
        fill: Sequence[int] = MEAN,
        visible: float = 0.25,
        probability: float = 1.0,
    ) -> None:
        check("cutout", above("side", side, 0), chance(probability), showing(visible))
        self.side, self.fill, self.visible, self.probability = side, fill, visible, probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        happens, center = rng.random() < self.probability, rng.random(2)
        if not happens:
            return sample
        size = _size(sample)
        half = self.side * size.min() / 2
        start = np.rint(np.maximum(center * size - half, 0)).astype(int)
        end = np.rint(np.minimum(center * size + half, size)).astype(int)
        hole = np.zeros(size, bool)
        hole[start[0] : end[0], start[1] : end[1]] = True
        return hidden(sample, hole, np.array(self.fill), self.visible)


class RandomErasing(Transform):
    """Hides a rectangle of random area, shape and place under noise.

    Zhong et al. 2020, Algorithm 1.

    Args:
        area: least and greatest part of the picture.
        ratio: least height over width; the greatest is its inverse.
        visible: least part of an object that shows, in (0, 1].
        probability: that it happens.
        trials: rectangles drawn until one fits into the picture; else nothing happens.

    Raises:
        ValueError: a number is out of its range.
    """

    scale_free = True

    def __init__(
        self,
        area: Sequence[float] = (0.02, 0.4),
        ratio: float = 0.3,
        visible: float = 0.25,
        probability: float = 0.5,
        trials: int = 100,
    ) -> None:
        least, most = area
        extent = 0 < least <= most <= 1, f"area in (0, 1] and rising, found {list(area)}"
        shape = within("ratio", ratio, "(0, 1]")
        check("random_erasing", extent, shape, chance(probability), showing(visible))
        self.area, self.ratio, self.trials = (least, most), ratio, trials
        self.visible, self.probability = visible, probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        size = _size(sample)
        areas = rng.uniform(*self.area, self.trials) * size.prod()
        ratios = rng.uniform(self.ratio, 1 / self.ratio, self.trials)
        sides = np.rint(np.sqrt([areas * ratios, areas / ratios])).astype(int).T  # [trials, 2]
        fitting = sides[(sides < size).all(axis=1)]
        if not len(fitting):
            return sample
        top, left = rng.integers(size - fitting[0])
        hole = np.zeros(size, bool)
        hole[top : top + fitting[0, 0], left : left + fitting[0, 1]] = True
        noise = rng.integers(0, 256, (*size, 3), np.uint8)
        return hidden(sample, hole, noise, self.visible)


class HideAndSeek(Transform):
    """Hides each patch of a grid with a probability.

    Singh et al. 2018, sec. 3.1 and 4: grids of several sizes, one drawn for each picture.

    Args:
        sides: of a patch; one is drawn.
        hidden: probability that a patch is hidden.
        fill: RGB; theirs is the mean of the training pictures.
        visible: least part of an object that shows, in (0, 1].
        probability: that it happens.

    Raises:
        ValueError: a number is out of its range.
    """

    scale_free = True

    def __init__(
        self,
        sides: Sequence[float] = (0.0714, 0.1429, 0.1964, 0.25),
        hidden: float = 0.5,
        fill: Sequence[int] = MEAN,
        visible: float = 0.25,
        probability: float = 0.8,
    ) -> None:
        right = bool(sides) and all(0 < side <= 1 for side in sides)
        extent = right, f"sides, each in (0, 1], found {list(sides)}"
        share = within("hidden", hidden, "(0, 1)")
        check("hide_and_seek", extent, share, chance(probability), showing(visible))
        self.sides, self.hidden, self.fill = tuple(sides), hidden, fill
        self.visible, self.probability = visible, probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        happens, which = rng.random() < self.probability, rng.integers(len(self.sides))
        if not happens:
            return sample
        size = _size(sample)
        cell = max(1, round(self.sides[which] * int(size.min())))
        patches = rng.random(-(-size // cell)) < self.hidden
        hole = patches.repeat(cell, axis=0).repeat(cell, axis=1)[: size[0], : size[1]]
        return hidden(sample, hole, np.array(self.fill), self.visible)


class GridMask(Transform):
    """Hides the squares of a regular grid.

    Chen et al. 2020, sec. 3.2: of each unit a square stays hidden, of a side of `1 - kept` units.
    Their rotation, `rotate=1` in the release, turns by less than one degree, so it is left out; so
    is the probability that grows during training.

    Args:
        period: least and greatest side of a unit.
        kept: part of the side of a unit that is not hidden, r in the paper.
        fill: RGB; theirs is the mean, which is zero to the network.
        visible: least part of an object that shows, in (0, 1].
        probability: that it happens.

    Raises:
        ValueError: a number is out of its range.
    """

    scale_free = True

    def __init__(
        self,
        period: Sequence[float] = (0.43, 1.0),
        kept: float = 0.6,
        fill: Sequence[int] = MEAN,
        visible: float = 0.25,
        probability: float = 0.8,
    ) -> None:
        least, most = period
        extent = 0 < least <= most, f"period above 0 and rising, found {list(period)}"
        share = within("kept", kept, "(0, 1)")
        check("gridmask", extent, share, chance(probability), showing(visible))
        self.period, self.kept, self.fill = (least, most), kept, fill
        self.visible, self.probability = visible, probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        happens = rng.random() < self.probability
        length, place = rng.uniform(*self.period), rng.random(2)
        if not happens:
            return sample
        size = _size(sample)
        unit = max(2, round(length * int(size.min())))
        side = round(unit * (1 - self.kept))
        rows, columns = (
            (np.arange(extent) + round(start * unit)) % unit < side
            for extent, start in zip(size.tolist(), place.tolist(), strict=True)
        )
        hole = rows[:, None] & columns
        return hidden(sample, hole, np.array(self.fill), self.visible)


def hidden(sample: Sample, hole: np.ndarray, fill: np.ndarray, visible: float) -> Sample:
    """The sample with a part of its picture filled, without the objects that this hides.

    Args:
        hole: [h, w] bool, of the pixels of `sample.frame`.
        fill: uint8 [3] or [h, w, 3].
        visible: least part of an object that shows.
    """
    rows, columns = _frame(sample)
    covered = np.zeros(sample.image.shape[:2], bool)
    covered[rows, columns] = hole
    image = sample.image.copy()
    np.copyto(image[rows, columns], fill.astype(np.uint8), where=hole[..., None])
    return without_hidden(sample._replace(image=image), covered, visible)


def _frame(sample: Sample) -> tuple[slice, slice]:
    left, top, right, bottom = np.rint(sample.frame).astype(int).tolist()
    return slice(top, bottom), slice(left, right)


def _size(sample: Sample) -> np.ndarray:
    """[2] height and width of the picture in whole pixels."""
    rows, columns = _frame(sample)
    return np.array([rows.stop - rows.start, columns.stop - columns.start])
