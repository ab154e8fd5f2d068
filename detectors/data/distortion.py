"""Colours as another camera might have seen them."""

from collections.abc import Callable

import cv2
import numpy as np

from detectors.structures import Sample

Change = Callable[[np.ndarray], np.ndarray]  # of an image [H, W, 3] uint8


class Distortion:
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
