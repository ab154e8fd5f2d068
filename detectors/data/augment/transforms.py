"""Transforms of one image: windows and flips of the original picture, then the resize.

All but the resize works on the picture in its own resolution, and only what is shown smaller is
interpolated twice. Every change is an axis-aligned map, new = old * scale + shift, which boxes,
`frame` and `to_original` follow exactly.

An object that a window cuts keeps what shows of it, if that is at least `visible` of its area;
otherwise the object is dropped.
"""

from collections.abc import Mapping
from typing import Protocol

import cv2
import numpy as np

from detectors.contracts import check_contract
from detectors.data.augment import Transform
from detectors.data.ranges import at_least, chance, check, showing, within
from detectors.structures import Sample

FILL = 114  # grey level where a canvas shows no picture; near the mean of natural images


class Resize(Protocol):
    """Brings a picture of any size onto the canvas of the network."""

    canvas: tuple[int, int]  # (height, width)

    def __call__(self, sample: Sample) -> Sample:
        """`on_canvas`, which callers may ask in its place."""
        ...

    def picture_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that a picture of this size has on the canvas."""
        ...

    def corner(self, height: int, width: int) -> tuple[int, int]:
        """(top, left) at which a picture that has this size on the canvas lies there."""
        ...

    def sized(self, side: int) -> "Resize":
        """The same for an image size of another side, in pixels."""
        ...


class Letterbox:
    """Resizes with the sides in proportion, centred, the rest of the canvas grey."""

    def __init__(self, size: int | list[int]) -> None:
        self.canvas = canvas_size(size)

    def __call__(self, sample: Sample) -> Sample:
        return on_canvas(sample, self)

    def picture_size(self, height: int, width: int) -> tuple[int, int]:
        scale = min(self.canvas[0] / height, self.canvas[1] / width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def corner(self, height: int, width: int) -> tuple[int, int]:
        return middle(self.canvas, height, width)

    def sized(self, side: int) -> "Letterbox":
        return Letterbox(side)


class LetterboxCorner:
    """Resizes with the sides in proportion, in the upper left corner of the grey canvas.

    YOLOX, released `data_augment.py`, `preproc`: sides are rounded down.
    """

    def __init__(self, size: int | list[int]) -> None:
        self.canvas = canvas_size(size)

    def __call__(self, sample: Sample) -> Sample:
        return on_canvas(sample, self)

    def picture_size(self, height: int, width: int) -> tuple[int, int]:
        scale = min(self.canvas[0] / height, self.canvas[1] / width)
        return max(1, int(height * scale)), max(1, int(width * scale))

    def corner(self, height: int, width: int) -> tuple[int, int]:
        return 0, 0

    def sized(self, side: int) -> "LetterboxCorner":
        return LetterboxCorner(side)


class ShorterEdge:
    """Resizes the shorter side to `size`, less where the longer would exceed `ratio` times that.

    Fast R-CNN, sec. 5 of the release and all of Detectron: 600 and 1000, 800 and 1333 pixels. The
    canvas is square, so that upright and lying pictures share it, its side the longest one rounded
    up to a multiple of 32; the picture lies in its middle, the rest is grey.

    Args:
        size: the shorter side in pixels.
        ratio: of the longest to the shorter side.
    """

    def __init__(self, size: int, ratio: float = 5 / 3) -> None:
        expected = f"one side in pixels as image_size, the shorter one, found {size!r}"
        pixels = isinstance(size, int) and size >= 1, expected
        check("resize=shorter_edge", pixels, at_least("ratio", ratio, 1))
        self.size, self.ratio, self.longest = size, ratio, int(size * ratio)
        side = -(-self.longest // 32) * 32
        self.canvas = (side, side)

    def __call__(self, sample: Sample) -> Sample:
        return on_canvas(sample, self)

    def picture_size(self, height: int, width: int) -> tuple[int, int]:
        scale = min(self.size / min(height, width), self.longest / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def corner(self, height: int, width: int) -> tuple[int, int]:
        return middle(self.canvas, height, width)

    def sized(self, side: int) -> "ShorterEdge":
        return ShorterEdge(side, self.ratio)


class Stretch:
    """Resizes each side to that of the canvas."""

    def __init__(self, size: int | list[int]) -> None:
        self.canvas = canvas_size(size)

    def __call__(self, sample: Sample) -> Sample:
        return on_canvas(sample, self)

    def picture_size(self, height: int, width: int) -> tuple[int, int]:
        return self.canvas

    def corner(self, height: int, width: int) -> tuple[int, int]:
        return 0, 0

    def sized(self, side: int) -> "Stretch":
        return Stretch(side)


def middle(canvas: tuple[int, int], height: int, width: int) -> tuple[int, int]:
    """(top, left) of a picture in the middle of a canvas."""
    return (canvas[0] - height) // 2, (canvas[1] - width) // 2


def on_canvas(sample: Sample, resize: Resize) -> Sample:
    """The picture resized, at its place on the canvas."""
    size = sample.image.shape[:2]
    return placed(sample, canvas_of(sample.image, size, resize), size, resize)


def canvas_of(image: np.ndarray, size: tuple[int, int], resize: Resize) -> np.ndarray:
    """[*canvas, 3] a picture of (height, width) at its place, the rest grey.

    Args:
        image: the picture, in this size or decoded at a part of it.
    """
    height, width = resize.picture_size(*size)
    if (height, width) == resize.canvas:
        return resized(image, height, width)
    top, left = resize.corner(height, width)
    canvas = np.full((*resize.canvas, 3), FILL, np.uint8)
    canvas[top : top + height, left : left + width] = resized(image, height, width)
    return canvas


def placed(sample: Sample, canvas: np.ndarray, size: tuple[int, int], resize: Resize) -> Sample:
    """The sample of a picture of this size on the canvas that `resize` made of it."""
    height, width = resize.picture_size(*size)
    top, left = resize.corner(height, width)
    scale = np.array([width / size[1], height / size[0]])
    return mapped(sample, canvas, scale, np.array([left, top]))


def scale_free(transforms: Mapping[str, Transform]) -> bool:
    """Whether all of them mean the same at any resolution of the picture and keep its size.

    Raises:
        ValueError: one does not say so, nor that it does not.
    """
    for transform in transforms.values():
        check_contract(transform, Transform)
    return all(transform.scale_free for transform in transforms.values())


def framed(sample: Sample) -> Sample:
    """The part of the canvas that the picture fills, as a sample of its own."""
    height, width = sample.image.shape[:2]
    if sample.frame.tolist() == [0, 0, width, height]:
        return sample
    left, top, right, bottom = np.rint(sample.frame).astype(int).tolist()
    view = sample.image[top:bottom, left:right]
    return mapped(sample, view, np.ones(2), np.array([-left, -top]))


def unframed(sample: Sample, whole: Sample) -> Sample:
    """Puts what `framed` cut out of `whole` back in its place."""
    if sample.image.shape == whole.image.shape:
        return sample
    left, top, right, bottom = np.rint(whole.frame).astype(int).tolist()
    image = whole.image.copy()
    image[top:bottom, left:right] = sample.image
    return mapped(sample, image, np.ones(2), np.array([left, top]))


class HorizontalFlip(Transform):
    """Mirrors left and right with a probability; `to_original` then has a negative x scale."""

    scale_free = True

    def __init__(self, probability: float = 0.5) -> None:
        check("flip", chance(probability))
        self.probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        width = sample.image.shape[1]
        image = cv2.flip(sample.image, 1)
        return mapped(sample, image, np.array([-1.0, 1.0]), np.array([width, 0.0]))


class ScaleJitter(Transform):
    """Enlarges or shrinks the picture, at a random place in a window of its own shape.

    Large scale jitter, Ghiasi et al. 2021, sec. 3 (scale uniform in 0.1 to 2.0; 0.8 to 1.25 is
    their standard jitter). Above 1 the window is a crop, below 1 the picture lies in grey.
    """

    def __init__(self, low: float, high: float, visible: float = 0.25) -> None:
        scales = 0 < low <= high, f"0 < low <= high, found {low} and {high}"
        check("scale jitter", scales, showing(visible))
        self.low, self.high, self.visible = low, high, visible

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        scale, place = rng.uniform(self.low, self.high), rng.random(2)
        size = np.array(sample.image.shape[:2])
        sample = _shrunk(sample, min(scale, 1.0))
        shown = np.maximum(np.rint(size / max(scale, 1.0)), 1).astype(int)
        room = np.array(sample.image.shape[:2]) - shown
        top, left = np.rint(place * room).astype(int)
        return window(sample, top, left, shown[0], shown[1], self.visible)


class Translate(Transform):
    """Moves the picture by up to a part of its width and height; grey fills the gap."""

    def __init__(self, part: float, visible: float = 0.25) -> None:
        check("translation", within("part", part, "[0, 1]"), showing(visible))
        self.part, self.visible = part, visible

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.image.shape[:2]
        shift = rng.uniform(-self.part, self.part, 2) * (height, width)
        top, left = np.rint(shift).astype(int)
        return window(sample, top, left, height, width, self.visible)


def window(
    sample: Sample,
    top: int,
    left: int,
    height: int,
    width: int,
    visible: float,
    fill: int | tuple[int, int, int] = FILL,
) -> Sample:
    """The sample seen through a window, which may reach out of the image; pixels are copied.

    Args:
        top, left, height, width: whole pixels of `sample.image`; top and left may be negative.
        visible: least part of its area by which an object is kept, in (0, 1].
        fill: grey level or RGB where there is no picture.
    """
    rows, columns = sample.image.shape[:2]
    image = np.full((height, width, 3), fill, np.uint8)
    y0, y1 = np.clip([top, top + height], 0, rows)
    x0, x1 = np.clip([left, left + width], 0, columns)
    image[y0 - top : y1 - top, x0 - left : x1 - left] = sample.image[y0:y1, x0:x1]
    full = _boxes_moved(sample.boxes, np.ones(2), np.array([-left, -top]))
    moved = mapped(sample, image, np.ones(2), np.array([-left, -top]))
    return chosen(moved, visible_rows(moved.boxes, full, visible))


def chosen(sample: Sample, rows: np.ndarray) -> Sample:
    """The sample with only some of its objects, by index or mask."""
    return sample._replace(
        boxes=sample.boxes[rows], labels=sample.labels[rows], ignore=sample.ignore[rows]
    )


def visible_rows(boxes: np.ndarray, full: np.ndarray, visible: float) -> np.ndarray:
    """[n] bool: boxes of which at least `visible` of the area of the full ones is left."""
    return _areas(boxes) >= np.maximum(visible * _areas(full), 1e-6)


def mapped(sample: Sample, image: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> Sample:
    """The sample on a new image, its coordinates following new = old * scale + shift.

    Boxes are clipped to the part of the image that shows the picture; none is dropped.

    Args:
        scale: [2] x, y; negative mirrors.
        shift: [2] x, y, pixels of the new image.
    """
    height, width = image.shape[:2]
    moved = _boxes_moved(np.concatenate([sample.frame[None], sample.boxes]), scale, shift)
    frame = clipped(moved[0], np.zeros(4), np.array([width, height, width, height]))
    boxes = clipped(moved[1:], frame[[0, 1, 0, 1]], frame[[2, 3, 2, 3]])
    old_scale, old_shift = sample.to_original[:2], sample.to_original[2:]
    back = np.concatenate([old_scale / scale, old_shift - shift / scale * old_scale])
    return sample._replace(
        image=image,
        boxes=boxes.astype(np.float32),
        frame=frame.astype(np.float32),
        to_original=back.astype(np.float32),
    )


def _boxes_moved(boxes: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    corners = boxes.reshape(-1, 2, 2).astype(np.float64) * scale + shift
    first, second = corners[:, 0], corners[:, 1]
    return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)


def clipped(values: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """As `np.clip`, which takes five times as long for a few boxes."""
    return np.minimum(np.maximum(values, low), high)


def _areas(boxes: np.ndarray) -> np.ndarray:
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def _shrunk(sample: Sample, scale: float) -> Sample:
    if scale == 1:
        return sample
    height, width = np.maximum(np.rint(np.array(sample.image.shape[:2]) * scale), 1).astype(int)
    image = resized(sample.image, height, width)
    return mapped(sample, image, _growth(sample.image, height, width), np.zeros(2))


def _growth(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.array([width / image.shape[1], height / image.shape[0]])


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """[height, width, 3]; linear between the four nearest pixels, or the mean of an area.

    The mean where a side shrinks to less than half, for four pixels would then not be all that a
    new one stands for. At a half both are the same; linear takes a third of the time.
    """
    rows, columns = image.shape[:2]
    shrinks = height <= rows and width <= columns
    method = cv2.INTER_LINEAR
    if shrinks and (2 * height < rows or 2 * width < columns):
        method = cv2.INTER_AREA
    return cv2.resize(image, (width, height), interpolation=method)


def canvas_size(size: int | list[int]) -> tuple[int, int]:
    """(height, width) of a side or a pair."""
    sides = [size, size] if isinstance(size, int) else size
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"found image_size={size!r}, expected pixels: a side or [height, width]")
    return sides[0], sides[1]
