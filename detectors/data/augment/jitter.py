"""Darknet's crops and colours, and the windows of CornerNet and CenterNet."""

from collections.abc import Sequence

import cv2
import numpy as np

from detectors.data.augment import Transform
from detectors.data.augment.ssd_crop import KEEP_ALL
from detectors.data.augment.transforms import mapped, resized, window
from detectors.data.ranges import at_least, check, within
from detectors.structures import Sample


class SideJitter(Transform):
    """Moves each of the four sides of the picture in or out by up to a part of its length.

    YOLOv1, sec. 2.2 (20 %); darknet's `jitter`, by which YOLOv2 as released and YOLOv4 train. What
    comes in has the mean colour of the picture (AlexeyAB's darknet; the first one repeated the
    pixels of the border). Whatever shows of an object is kept. Made for a resize that stretches.
    """

    def __init__(self, part: float) -> None:
        check("side jitter", within("part", part, "[0, 0.5)"))
        self.part = part

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.image.shape[:2]
        moves = rng.uniform(-self.part, self.part, (2, 2)) * (height, width)
        (top, left), (bottom, right) = np.rint(moves).astype(int)
        red, green, blue, _ = (round(level) for level in cv2.mean(sample.image))
        rows, columns = max(height - top - bottom, 1), max(width - left - right, 1)
        return window(sample, top, left, rows, columns, KEEP_ALL, (red, green, blue))


class AspectJitter(Transform):
    """Changes the aspect ratio and lays the picture at a random place of the smallest square.

    Darknet's `jitter` since March 2017, by which YOLOv3 trains: width and height are drawn anew,
    each up to a part larger or smaller, for their ratio only. The square is grey and as long as the
    longer side was, so letterboxing has nothing to add.
    """

    def __init__(self, part: float) -> None:
        check("aspect jitter", within("part", part, "[0, 0.5)"))
        self.part = part

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        size, factors = np.array(sample.image.shape[:2]), 1 + rng.uniform(-self.part, self.part, 2)
        place, side = rng.random(2), int(size.max())
        height, width = np.maximum(np.rint(size * factors * side / (size * factors).max()), 1)
        image = resized(sample.image, int(height), int(width))
        growth = np.array([width, height]) / size[::-1]
        sample = mapped(sample, image, growth, np.zeros(2))
        top, left = -np.floor(place * (side - np.array([height, width]))).astype(int)
        return window(sample, top, left, side, side, KEEP_ALL)


class ExposureJitter(Transform):
    """Darknet's colours: `hue`, `saturation` and `exposure` of the HSV colour space.

    Args:
        hue: largest shift, in turns of the colour circle.
        saturation, exposure: largest factor; drawn from 1 on, and inverted as often as not.
    """

    scale_free = True

    def __init__(self, hue: float = 0.1, saturation: float = 1.5, exposure: float = 1.5) -> None:
        factors = at_least("saturation", saturation, 1), at_least("exposure", exposure, 1)
        check("exposure jitter", at_least("hue", hue, 0), *factors)
        self.hue, self.largest = hue, np.array([saturation, exposure])

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        shift, factors = rng.uniform(-self.hue, self.hue), rng.uniform(1, self.largest)
        factors = np.where(rng.random(2) < 0.5, factors, 1 / factors)
        levels = np.arange(256)
        table = np.empty((1, 256, 3), np.uint8)
        table[0, :, 0] = (levels + round(shift * 256)) % 256
        table[0, :, 1:] = np.clip(np.rint(levels[:, None] * factors), 0, 255)
        hsv = cv2.LUT(cv2.cvtColor(sample.image, cv2.COLOR_RGB2HSV_FULL), table)
        return sample._replace(image=cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL))


class SquareWindow(Transform):
    """Shows a square around a random point, its side a multiple of the longer side of the picture.

    CenterNet, sec. 5 "Implementation details", after CornerNet; `src/lib/datasets/sample/ctdet.py`.
    Whatever shows of an object is kept; outside of the picture all is black.

    Args:
        scales: multiples, all equally likely.
        border: pixels from the edge within which the point does not lie; halved as often as it
            takes to leave room.
    """

    def __init__(self, scales: Sequence[float], border: int = 128) -> None:
        extents = bool(scales) and min(scales) > 0, f"scales above 0, found {list(scales)}"
        check("square window", extents, at_least("border", border, 0))
        self.scales, self.border = tuple(scales), border

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        scale = self.scales[int(rng.integers(len(self.scales)))]
        side = max(1, round(max(sample.image.shape[:2]) * scale))
        return _around_a_point(sample, side, self.border, rng)


class FixedWindow(Transform):
    """Shows a square around a random point, its side in pixels whatever the size of the picture.

    CornerNet, sec. 4.1; the release's `random_crop` (`sample/utils.py`). Small pictures show whole
    with black around them. Whatever shows of an object is kept.

    Args:
        sides: in pixels, all equally likely.
        border: as of `SquareWindow`.
    """

    def __init__(self, sides: Sequence[int], border: int = 128) -> None:
        extents = bool(sides) and min(sides) > 0, f"sides above 0, found {list(sides)}"
        check("fixed window", extents, at_least("border", border, 0))
        self.sides, self.border = tuple(sides), border

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        side = self.sides[int(rng.integers(len(self.sides)))]
        return _around_a_point(sample, side, self.border, rng)


def _around_a_point(sample: Sample, side: int, border: int, rng: np.random.Generator) -> Sample:
    """A square of the picture about a random point that is not too near to the edge."""
    size = np.array(sample.image.shape[:2])
    edge = np.array([_border(int(length), border) for length in size])
    center = edge + np.floor(rng.random(2) * (size - 2 * edge))
    top, left = (center - side // 2).astype(int)
    return window(sample, top, left, side, side, KEEP_ALL, 0)


def _border(length: int, border: int) -> int:
    while 2 * border >= length:
        border //= 2
    return border


class RandomInterpolation(Transform):
    """Stretches to the canvas by one of OpenCV's five methods, all equally likely.

    SSD's `resize_param`: linear, area, nearest, cubic, Lanczos. The resize that follows has nothing
    left to do where it stretches to the same size.
    """

    METHODS = (
        cv2.INTER_LINEAR,
        cv2.INTER_AREA,
        cv2.INTER_NEAREST,
        cv2.INTER_CUBIC,
        cv2.INTER_LANCZOS4,
    )

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        method = self.METHODS[int(rng.integers(len(self.METHODS)))]
        image = cv2.resize(sample.image, (self.size, self.size), interpolation=method)
        growth = self.size / np.array(sample.image.shape[1::-1])
        return mapped(sample, image, growth, np.zeros(2))
