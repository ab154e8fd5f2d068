"""Changes colours as another camera or light might."""

from collections.abc import Callable

import cv2
import numpy as np

from detectors.data.augment import Transform
from detectors.data.ranges import chance, check
from detectors.structures import Sample

Change = Callable[[np.ndarray], np.ndarray]  # of an image [H, W, 3] uint8


class PhotometricDistortion(Transform):
    """Brightness, contrast, saturation and hue, each changed with a probability of its own.

    SSD's `im_transforms.cpp`, ApplyDistort (after Howard 2013), its numbers the defaults: contrast
    comes before saturation and hue, or behind them, as often. Each step is rounded to whole levels.

    Args:
        brightness: largest number of levels added or taken.
        contrast: largest part by which the levels are scaled up or down.
        saturation: the same of the saturation.
        hue: largest shift in OpenCV's units, half degrees of the colour circle.
        probability: of each of the four.
    """

    scale_free = True

    def __init__(
        self,
        brightness: float = 32.0,
        contrast: float = 0.5,
        saturation: float = 0.5,
        hue: float = 18.0,
        probability: float = 0.5,
    ) -> None:
        self.brightness, self.contrast = brightness, contrast
        self.saturation, self.hue, self.probability = saturation, hue, probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        image = sample.image
        for change in self._changes(rng):
            image = change(image)
        return sample._replace(image=image)

    def _changes(self, rng: np.random.Generator) -> list[Change]:
        """What is to be done, in order; always the same number of draws."""
        amounts = rng.uniform(-1, 1, 4) * (
            self.brightness,
            self.contrast,
            self.saturation,
            self.hue,
        )
        happens = rng.random(4) < self.probability
        changes = [_brighter, _contrasted, _saturated, _shifted]
        order = [0, 1, 2, 3] if rng.random() < 0.5 else [0, 2, 3, 1]
        return [_bound(changes[i], float(amounts[i])) for i in order if happens[i]]


class ColorJitter(Transform):
    """Brightness, contrast, saturation and hue at once, as one linear map of the levels.

    In YIQ (the colour space of NTSC) brightness scales all, contrast scales what differs from the
    mean luma, saturation scales the chroma and hue turns it, as in TensorFlow's
    `adjust_hsv_in_yiq` and DALI's `color_twist`. So done, none of the four changes what another
    does, and their order does not matter; levels are right within one and cut to 0..255 at the end.
    The way through HSV would take several times as long.

    Args:
        brightness, contrast, saturation: largest part by which a factor differs from 1.
        hue: largest turn, in turns of the colour circle.
        probability: that it happens.

    Raises:
        ValueError: a number is out of its range.
    """

    scale_free = True

    def __init__(
        self,
        brightness: float = 0.2,
        contrast: float = 0.2,
        saturation: float = 0.2,
        hue: float = 0.05,
        probability: float = 0.8,
    ) -> None:
        self.parts = np.array([brightness, contrast, saturation, hue])
        parts = bool((self.parts >= 0).all() and (self.parts <= (1, 1, 1, 0.5)).all())
        found = f"brightness, contrast, saturation in [0, 1], hue in [0, 0.5], found {self.parts}"
        check("color", (parts, found), chance(probability))
        self.probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        happens = rng.random() < self.probability
        amounts = rng.uniform(-self.parts, self.parts)
        if not happens:
            return sample
        brightness, contrast, saturation = 1 + amounts[:3]
        colors = brightness * contrast * _turned(saturation, 2 * np.pi * amounts[3])
        luma = YIQ[0] @ cv2.mean(sample.image)[:3]
        shift = np.full((3, 1), brightness * (1 - contrast) * luma)
        image = cv2.transform(sample.image, np.concatenate([colors, shift], axis=1))
        return sample._replace(image=image)


YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
RGB = np.linalg.inv(YIQ)


def _turned(saturation: float, angle: float) -> np.ndarray:
    """[3, 3] map of RGB that scales the chroma and turns it by an angle, the luma left as it is."""
    cosine, sine = saturation * np.cos(angle), saturation * np.sin(angle)
    return RGB @ np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]]) @ YIQ


def _bound(change: Callable[[np.ndarray, float], np.ndarray], amount: float) -> Change:
    return lambda image: change(image, amount)


LEVELS = np.arange(256, dtype=np.uint8)
SAME = np.stack([LEVELS] * 3, axis=-1)[None]  # [1, 256, 3], a table that changes nothing


def _brighter(image: np.ndarray, levels: float) -> np.ndarray:
    return cv2.LUT(image, _rounded(LEVELS + np.float32(levels)))


def _contrasted(image: np.ndarray, part: float) -> np.ndarray:
    return cv2.LUT(image, _rounded(LEVELS * np.float32(1 + part)))


def _saturated(image: np.ndarray, part: float) -> np.ndarray:
    table = SAME.copy()
    table[..., 1] = _rounded(LEVELS * np.float32(1 + part))
    return _through_hsv(image, table)


def _shifted(image: np.ndarray, half_degrees: float) -> np.ndarray:
    table = SAME.copy()
    table[..., 0] = np.mod(LEVELS.astype(np.int64) + round(half_degrees), 180)
    return _through_hsv(image, table)


def _through_hsv(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The image, each level of its hue, saturation and value replaced from a table [1, 256, 3]."""
    hsv = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2HSV), table)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


def _rounded(levels: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


class HSVShift(Transform):
    """Adds to hue, saturation and value, each with a probability of its own.

    YOLOX, released `data_augment.py`, `augment_hsv`, its numbers the defaults. Whole levels are
    added; hue goes round, the others are cut to 0..255.

    Args:
        hue: most that is added or taken, in OpenCV's units, half degrees of the colour circle.
        saturation, value: the same in levels.
        probability: of each of the three.
    """

    scale_free = True

    def __init__(
        self,
        hue: float = 5.0,
        saturation: float = 30.0,
        value: float = 30.0,
        probability: float = 0.5,
    ) -> None:
        check("HSV shift", chance(probability))
        self.most, self.probability = np.array([hue, saturation, value]), probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        amounts = rng.uniform(-self.most, self.most).astype(int)  # towards zero, as there
        hue, saturation, value = amounts * (rng.random(3) < self.probability)
        levels, table = np.arange(256), SAME.copy()
        table[0, :, 0] = (levels + hue) % 180
        table[0, :, 1] = np.clip(levels + saturation, 0, 255)
        table[0, :, 2] = np.clip(levels + value, 0, 255)
        return sample._replace(image=_through_hsv(sample.image, table))
