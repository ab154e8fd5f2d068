"""Crops for a classifier: a random part of the picture in training, its middle afterwards."""

from collections.abc import Sequence

import numpy as np

from detectors.data.augment.transforms import Stretch, window
from detectors.data.ranges import at_least, check, showing
from detectors.structures import Sample

KEEP_ALL = 1e-6  # part of an object that has to show


class AreaCrop:
    """Shows a part of the picture of random area, shape and place.

    Szegedy et al. 2015, sec. 6: 8 to 100 % of the area, sides from 3:4 to 4:3, here log-uniform.
    A side that would be longer than the picture's is as long as it.

    Args:
        area: least and greatest share of the picture.
        ratio: greatest width over height, and inverse of the least.
        visible: of an object, as elsewhere in `transforms`.
    """

    def __init__(
        self, area: Sequence[float] = (0.08, 1.0), ratio: float = 4 / 3, visible: float = 0.25
    ) -> None:
        least, most = area
        extent = 0 < least <= most <= 1, f"area in (0, 1] and rising, found {list(area)}"
        check("area crop", extent, at_least("ratio", ratio, 1), showing(visible))
        self.area, self.ratio, self.visible = (least, most), ratio, visible

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        share, shape = rng.uniform(*self.area), self.ratio ** rng.uniform(-1, 1)
        place, whole = rng.random(2), np.array(sample.image.shape[:2])
        sides = np.sqrt(share * whole.prod() * np.array([1 / shape, shape]))
        height, width = np.clip(np.rint(sides), 1, whole).astype(int)
        top, left = np.rint(place * (whole - [height, width])).astype(int)
        return window(sample, top, left, height, width, self.visible)


class CenterSquare:
    """Resizes the largest square in the middle of the picture: darknet's `validate_classifier`."""

    def __init__(self, size: int) -> None:
        self.resize = Stretch(size)
        self.canvas = self.resize.canvas

    def __call__(self, sample: Sample) -> Sample:
        height, width = sample.image.shape[:2]
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        return self.resize(window(sample, top, left, side, side, KEEP_ALL))

    def picture_size(self, height: int, width: int) -> tuple[int, int]:
        return self.canvas

    def corner(self, height: int, width: int) -> tuple[int, int]:
        return 0, 0

    def sized(self, side: int) -> "CenterSquare":
        return CenterSquare(side)
