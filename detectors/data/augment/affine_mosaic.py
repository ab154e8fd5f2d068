"""YOLOX's mosaic: four pictures on a canvas of twice the size, then an affine map onto one."""

from collections.abc import Sequence

import cv2
import numpy as np

from detectors.data.augment import Mix
from detectors.data.augment.joining import joined, largest
from detectors.data.augment.transforms import FILL, chosen, framed
from detectors.data.ranges import at_least, chance, check, factors, number, within
from detectors.structures import Sample


class AffineMosaic(Mix):
    """Four pictures that touch a random point, turned, scaled, sheared and moved as one.

    YOLOX (Ge et al. 2021, sec. 2.1 "Strong data augmentation"; released `mosaicdetection.py` and
    `data_augment.py`). The pictures lie on a canvas of twice the sides. The map turns and scales
    about its upper left corner, so that what lies there is seen most. A box becomes the upright one
    around its mapped corners; it is kept where both sides are longer than `smallest`, however
    little shows of the object. Of more than `most` objects the smallest are dropped (the release
    keeps the first). The sample has no way back: `to_original` is NaN.

    Args:
        low, high: range of the point, in sides of the canvas.
        scale: range of the factor.
        degrees: largest turn.
        translate: largest shift, in sides of the canvas.
        shear: largest angle of shearing along each axis, in degrees.
        smallest: pixels.
        most: objects that are kept at most.
        probability: that a sample becomes a mosaic.

    Raises:
        ValueError: a number is out of its range.
    """

    partners = 3

    def __init__(
        self,
        low: float = 0.5,
        high: float = 1.5,
        scale: Sequence[float] = (0.1, 2.0),
        degrees: float = 10.0,
        translate: float = 0.1,
        shear: float = 2.0,
        smallest: float = 1.0,
        most: int = 120,
        probability: float = 1.0,
    ) -> None:
        point = 0 < low <= high < 2, f"0 < low <= high < 2, found {low} and {high}"
        check(
            "affine mosaic",
            point,
            factors("scale", scale),
            within("degrees", degrees, "[0, 180]"),
            within("translate", translate, "[0, 1]"),
            within("shear", shear, "[0, 45)"),
            at_least("smallest", smallest, 0),
            number(most),
            chance(probability),
        )
        self.low, self.high, self.scale = low, high, (scale[0], scale[1])
        self.degrees, self.translate, self.shear = degrees, translate, shear
        self.smallest, self.most, self.probability = smallest, most, probability

    def __call__(self, samples: Sequence[Sample], rng: np.random.Generator) -> Sample:
        size = np.array(samples[0].image.shape[:2])
        point = (rng.uniform(self.low, self.high, 2) * size).astype(int)
        turn, factor = rng.uniform(-self.degrees, self.degrees), rng.uniform(*self.scale)
        shear = rng.uniform(-self.shear, self.shear, 2)
        shift = rng.uniform(-self.translate, self.translate, 2) * size[::-1]
        matrix = affine(float(turn), float(factor), shear, shift)
        return largest(warped(around(samples, point), matrix, size, self.smallest), self.most)


def around(samples: Sequence[Sample], point: np.ndarray) -> Sample:
    """Four samples of one image size [H, W] on a canvas [2 H, 2 W], touching a point of it.

    They lie to the upper left, upper right, lower left and lower right, without their grey borders,
    and end at the border of the canvas.

    Args:
        point: [2] row and column.
    """
    size = np.array(samples[0].image.shape[:2])
    image = np.full((*(2 * size), 3), FILL, np.uint8)
    parts = []
    for k, sample in enumerate(samples):
        picture = framed(sample)
        extent = np.array(picture.image.shape[:2])
        corner = point - extent * (k < 2, k % 2 == 0)
        (top, left), (bottom, right) = np.maximum(corner, 0), np.minimum(corner + extent, 2 * size)
        y, x = corner
        image[top:bottom, left:right] = picture.image[top - y : bottom - y, left - x : right - x]
        boxes = picture.boxes + np.array([x, y, x, y], np.float32)
        parts.append(picture._replace(boxes=np.clip(boxes, 0, np.tile(2 * size[::-1], 2))))
    return joined(samples[0], image, parts, np.array([0, 0, *(2 * size[::-1])], np.float32))


def affine(degrees: float, scale: float, shear: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """[2, 3] map of points (x, y, 1), as `get_affine_matrix` of the release makes it.

    Args:
        degrees: of the turn, anticlockwise, about the origin.
        scale: factor.
        shear: [2] degrees along x and y.
        shift: [2] pixels along x and y, last of all.
    """
    turned = cv2.getRotationMatrix2D(angle=degrees, center=(0, 0), scale=scale)[:, :2]
    along_x, along_y = np.tan(np.deg2rad(shear))
    sheared = np.stack([turned[0] + along_y * turned[1], turned[1] + along_x * turned[0]])
    return np.concatenate([sheared, np.asarray(shift, np.float64)[:, None]], axis=1)


def warped(sample: Sample, matrix: np.ndarray, size: np.ndarray, smallest: float) -> Sample:
    """The sample mapped onto a canvas [H, W], its boxes upright again and cut to it.

    The middle of pixel (0, 0) lies at (0.5, 0.5), for boxes and for pixels alike; the release maps
    pixels as if it lay at the origin, up to a pixel off.

    Args:
        matrix: [2, 3] of points (x, y, 1).
        size: [2] height and width.
        smallest: shorter boxes are dropped.
    """
    height, width = size.tolist()
    of_pixels = matrix.copy()
    of_pixels[:, 2] += matrix[:, :2] @ (0.5, 0.5) - 0.5
    image = cv2.warpAffine(sample.image, of_pixels, (width, height), borderValue=(FILL,) * 3)
    corners = sample.boxes[:, [0, 1, 2, 1, 0, 3, 2, 3]].reshape(-1, 4, 2)
    moved = corners @ matrix[:, :2].T + matrix[:, 2]
    boxes = np.concatenate([moved.min(1), moved.max(1)], axis=1).clip(0, [width, height] * 2)
    kept = (boxes[:, 2:] - boxes[:, :2] > smallest).all(axis=1)
    whole = np.array([0, 0, width, height], np.float32)
    changed = sample._replace(image=image, boxes=boxes.astype(np.float32), frame=whole)
    return chosen(changed, kept)
