"""SSD's zoom: out onto a larger canvas, and in to crops that overlap an object."""

from collections.abc import Sequence

import numpy as np

from detectors.data.augment import Transform
from detectors.data.augment.transforms import chosen, window
from detectors.data.ranges import at_least, chance, check
from detectors.ops.numpy_boxes import iou
from detectors.structures import Sample

KEEP_ALL = 1e-6  # part of an object that has to show


class Expand(Transform):
    """Lays the picture at a random place of a canvas up to `largest` times as long and wide.

    SSD, sec. 3.6: 16 times the area, filled with the mean colour; `im_transforms.cpp`, ExpandImage.
    """

    def __init__(
        self, largest: float, fill: Sequence[int] = (123, 117, 104), probability: float = 0.5
    ) -> None:
        check("expand", at_least("largest", largest, 1), chance(probability))
        self.largest, self.probability = largest, probability
        red, green, blue = fill
        self.fill = (red, green, blue)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        happens, ratio = rng.random() < self.probability, rng.uniform(1, self.largest)
        place = rng.random(2)
        if not happens:
            return sample
        size = np.array(sample.image.shape[:2])
        canvas = (size * ratio).astype(int)
        top, left = -np.floor(place * (canvas - size)).astype(int)
        return window(sample, top, left, canvas[0], canvas[1], KEEP_ALL, self.fill)


class IoUCrop(Transform):
    """Shows the whole picture or a part of it that overlaps an object enough.

    SSD, sec. 2.2 "Data augmentation", with the numbers of the released `batch_sampler`s: for each
    least overlap up to `trials` patches are drawn and the first that any object overlaps by as much
    is kept; of those kept and the whole picture one is taken, all equally likely. Objects whose
    centre lies in it stay.

    Args:
        overlaps: least IoU of the patch with some object; 0 for any patch.
        smallest: least side of a patch, as part of the picture's.
        ratio: width over height, relative to the picture's, is drawn from `1 / ratio` to `ratio`.
        trials: patches drawn for each overlap.
    """

    def __init__(
        self,
        overlaps: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9, 0.0),
        smallest: float = 0.3,
        ratio: float = 2.0,
        trials: int = 50,
    ) -> None:
        self.overlaps = np.array(overlaps)[:, None]
        self.smallest, self.ratio, self.trials = smallest, ratio, trials

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        patches = self._patches(sample.image.shape[1], sample.image.shape[0], rng)
        choice = rng.random()
        if not len(sample.boxes):
            return sample
        best = iou(patches[..., None, :], sample.boxes).max(axis=2)  # [G, T]
        enough = np.greater_equal(best, self.overlaps)
        first = patches[np.arange(len(patches)), enough.argmax(axis=1)]
        kept = first[enough.any(axis=1)]
        index = int(choice * (1 + len(kept)))
        return sample if index == len(kept) else _cropped(sample, kept[index])

    def _patches(self, width: int, height: int, rng: np.random.Generator) -> np.ndarray:
        """[G, T, 4] xyxy, whole pixels: T trials of each of the G generators."""
        count = (len(self.overlaps), self.trials)
        scale = rng.uniform(self.smallest, 1, count)
        low, high = np.maximum(1 / self.ratio, scale**2), np.minimum(self.ratio, scale**-2)
        root = np.sqrt(rng.uniform(low, high))
        sides = np.stack([scale * root, scale / root], axis=-1).clip(max=1)
        corner = rng.random((*count, 2)) * (1 - sides)
        whole = np.array([width, height])
        start = np.floor(corner * whole)
        end = np.minimum(start + np.maximum(np.floor(sides * whole), 1), whole)
        return np.concatenate([start, end], axis=-1)


def _cropped(sample: Sample, patch: np.ndarray) -> Sample:
    left, top, right, bottom = patch.astype(int)
    centers = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2
    inside = ((centers >= patch[:2]) & (centers <= patch[2:])).all(axis=1)
    return window(chosen(sample, inside), top, left, bottom - top, right - left, KEEP_ALL)
