"""Selective search: segments grouped from small to large propose boxes (Uijlings et al. 2013)."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

import cv2
import numpy as np

from detectors.data.augment.transforms import resized
from detectors.data.proposals import Method
from detectors.data.proposals.grouping import grouped
from detectors.data.proposals.regions import described, neighbours, texture_bins
from detectors.ranges import Count, Positive

ALL = ("colour", "texture", "size", "fill")


class Diversity(NamedTuple):
    """What is varied; each combination groups the picture once more (ibid., sec. 3.2.2)."""

    colours: tuple[str, ...]
    scales: tuple[int, ...]  # k of the segmentation, and its smallest segment in pixels
    strategies: tuple[tuple[str, ...], ...]  # which similarities are added


MODES = {  # ibid., sec. 5.4, and the parameters of the released demo
    "fast": Diversity(("hsv", "lab"), (50, 100), (ALL, ALL[1:])),
    "quality": Diversity(
        ("hsv", "lab", "rgi", "hue", "intensity"),
        (50, 100, 150, 300),
        (ALL, ALL[1:], ("fill",), ("size",)),
    ),
}


class SelectiveSearch(Method):
    """Boxes round all regions of several hierarchical groupings of a picture.

    The rank of a region is its place from the end of its grouping times a random number; all
    groupings together are sorted by it, and of equal boxes the first stays (ibid., sec. 3.3).

    Args:
        mode: "fast", 8 groupings, or "quality", 80.
        width: to which pictures are shrunk or enlarged first, as in R-CNN's release; None: as they
            are.
        smallest: side in pixels of that picture below which boxes are dropped, likewise.
        sigma: deviation of the smoothing before the segmentation.

    Raises:
        ValueError: scikit-image is not installed.
    """

    def __init__(
        self,
        mode: Literal["fast", "quality"] = "fast",
        width: Count | None = 500,
        smallest: Count = 20,
        sigma: Positive = 0.8,
    ) -> None:
        self.diversity = MODES[mode]
        self.width, self.smallest, self.sigma = width, smallest, sigma
        _segmentation()

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """As `Method`."""
        small = self._sized(image)
        groupings = list(self._groupings(small))
        boxes = np.concatenate(groupings)
        places = np.concatenate([np.arange(len(group), 0, -1) for group in groupings])
        boxes = boxes[np.argsort(places * rng.random(len(places)), kind="stable")]
        boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= self.smallest).all(axis=1)]
        _, first = np.unique(boxes, axis=0, return_index=True)
        growth = np.array(image.shape[1::-1]) / small.shape[1::-1]
        return (boxes[np.sort(first)] * np.tile(growth, 2)).astype(np.float32)

    def _sized(self, image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        if self.width in (None, width):
            return image
        assert self.width is not None
        return resized(image, max(1, round(height * self.width / width)), self.width)

    def _groupings(self, image: np.ndarray) -> Iterator[np.ndarray]:
        """Boxes [k, 4] of each grouping."""
        height, width = image.shape[:2]
        felzenszwalb = _segmentation()
        for colour in self.diversity.colours:
            values = colours(image, colour)
            texture = texture_bins(values)
            for scale in self.diversity.scales:
                labels = felzenszwalb(values, scale=scale, sigma=self.sigma, min_size=scale)
                pairs = neighbours(labels)
                for members in self.diversity.strategies:
                    regions = described(labels, values, texture, members)
                    yield grouped(regions, pairs, members, height * width)


def colours(image: np.ndarray, space: str) -> np.ndarray:
    """[H, W, c] uint8, the image in a colour space, whose channels all span 0..255.

    Ibid., sec. 3.2.2: "rgi" is normalised red and green with the intensity.

    Args:
        image: [H, W, 3] uint8 RGB.
        space: "hsv", "lab", "rgi", "hue" or "intensity".
    """
    if space in ("hsv", "hue"):
        values = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
        return values if space == "hsv" else values[..., :1]
    if space == "lab":
        return cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    if space == "intensity":
        return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]
    total = image.sum(axis=-1, keepdims=True, dtype=np.int64)
    shares = image[..., :2].astype(np.int64) * 255 // np.maximum(total, 1)
    return np.concatenate([shares, total // 3], axis=-1).astype(np.uint8)


def _segmentation() -> Callable[..., np.ndarray]:
    """Felzenszwalb and Huttenlocher's segmentation, of scikit-image."""
    try:
        from skimage.segmentation import felzenszwalb
    except ModuleNotFoundError as error:
        raise ValueError(
            "selective search needs scikit-image, which is not installed: "
            "pip install 'lightning-detectors[classical]', or choose method=dense"
        ) from error
    return felzenszwalb
