"""Mosaic: four pictures become the quarters of one."""

from collections.abc import Sequence

import numpy as np

from detectors.data.augment import Mix
from detectors.data.augment.joining import joined, largest
from detectors.data.augment.transforms import chosen, clipped, visible_rows
from detectors.data.ranges import chance, check, number, showing
from detectors.structures import Sample


class Mosaic(Mix):
    """Four pictures around a random cut point, each seen through a window the size of its quarter.

    YOLOv4, sec. 3.4; darknet, `src/data.c`. The window shows either the part of its picture that
    lies where the quarter is, or, as often, the part whose corner touches the cut point: nothing is
    resized. Boxes are cut to their quarter (darknet's `mosaic_bound=1`); what remains of an object
    is kept where both sides are longer than `smallest` and it is at least `visible` of the area.
    Of more than `most` objects the smallest are dropped. Partly shown in this way, the sample has
    no linear way back: `to_original` is NaN.

    Args:
        low, high: range of the cut point, as part of the canvas.
        visible: least part of an object's area that is kept, in (0, 1].
        smallest: pixels.
        most: objects that are kept at most.
        probability: that a sample becomes a mosaic.

    Raises:
        ValueError: a number is out of its range.
    """

    partners = 3

    def __init__(
        self,
        low: float = 0.2,
        high: float = 0.8,
        visible: float = 0.1,
        smallest: float = 1.0,
        most: int = 200,
        probability: float = 0.5,
    ) -> None:
        cut = 0 < low <= high < 1, f"0 < low <= high < 1, found {low} and {high}"
        check("mosaic", cut, chance(probability), showing(visible), number(most))
        self.low, self.high, self.probability = low, high, probability
        self.visible, self.smallest, self.most = visible, smallest, most

    def __call__(self, samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
        size = np.array(samples[0].image.shape[:2])
        cut = np.rint(rng.uniform(self.low, self.high, 2) * size).astype(int)
        touching = rng.random(4) < 0.5
        return mosaic(samples, cut, touching, self.visible, self.smallest, self.most)


def mosaic(
    samples: Sequence[Sample],
    cut: np.ndarray,
    touching: np.ndarray,
    visible: float,
    smallest: float,
    most: int,
) -> Sample:
    """The samples as upper left, upper right, lower left and lower right quarter.

    Args:
        samples: four of one image size [H, W].
        cut: [2] row and column where the quarters meet.
        touching: [4] bool, whether the picture's own corner lies at the cut point.
        visible, smallest, most: see `Mosaic`.
    """
    height, width = samples[0].image.shape[:2]
    image = np.empty((height, width, 3), np.uint8)
    quarters = []
    for k, sample in enumerate(samples):
        rows, columns = _quarter(k // 2, cut[0], height), _quarter(k % 2, cut[1], width)
        shift = touching[k] * np.array([_shift(columns, width), _shift(rows, height)])
        left, top = np.array([columns[0], rows[0]]) - shift
        view = sample.image[top : top + rows[1] - rows[0], left : left + columns[1] - columns[0]]
        image[slice(*rows), slice(*columns)] = view
        bounds = np.array([columns[0], rows[0], columns[1], rows[1]], np.float32)
        quarters.append(_shown(sample, shift, bounds, visible, smallest))
    whole = np.array([0, 0, width, height], np.float32)
    return largest(joined(samples[0], image, quarters, whole), most)


def _quarter(second: int, cut: int, size: int) -> tuple[int, int]:
    """Start and end of the first or second part of an axis."""
    return (cut, size) if second else (0, cut)


def _shift(part: tuple[int, int], size: int) -> int:
    """How far a picture moves along an axis so that its corner comes to the cut."""
    return part[0] if part[0] else part[1] - size


def _shown(
    sample: Sample, shift: np.ndarray, bounds: np.ndarray, visible: float, smallest: float
) -> Sample:
    """The objects of a picture, moved and cut to the bounds, where enough of them shows."""
    full = sample.boxes + np.tile(shift, 2).astype(np.float32)
    boxes = clipped(full, bounds[[0, 1, 0, 1]], bounds[[2, 3, 2, 3]])
    kept = visible_rows(boxes, full, visible)
    kept &= (boxes[:, 2:] - boxes[:, :2] > smallest).all(axis=1)
    return chosen(sample._replace(boxes=boxes), kept)
