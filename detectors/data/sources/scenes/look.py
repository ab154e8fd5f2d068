"""Paints a scene: textured ground and objects, then blur and brightness of the camera."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np

from detectors.data.ranges import check, within
from detectors.random_streams import stream

_SUBPIXEL = 4  # binary digits that cv2 keeps after the point
_FINER = 4  # outlines are drawn so many times finer, then averaged
_SPARE = 256  # pixels by which a texture is larger than the image, room for random crops


@dataclass(frozen=True)
class Look:
    """Colours and camera.

    Args:
        contrast: 1 gives objects in full colour on a greyish ground; towards 0 they take on the
            colour of the ground and only texture and outline remain.
        colour_cue: how much the hue tells of the class. At 0 hue and class are independent and only
            the shape decides; at 1 every class has one hue.
        blur: standard deviation in pixels of a Gaussian over the finished image; 0 is none.
        brightness: factor on the finished image.

    Raises:
        ValueError: a value is outside its range.
    """

    contrast: float = 1.0
    colour_cue: float = 0.0
    blur: float = 0.0
    brightness: float = 1.0

    def __post_init__(self) -> None:
        check(
            "scene look",
            within("contrast", self.contrast, "[0, 1]"),
            within("colour_cue", self.colour_cue, "[0, 1]"),
            within("blur", self.blur, "[0, 100]"),
            within("brightness", self.brightness, "(0, 100]"),
        )

    def paint(
        self,
        outlines: np.ndarray,
        labels: np.ndarray,
        num_classes: int,
        side: int,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """A picture of the objects, the first in front.

        Args:
            outlines: [n, V, 2] pixels.
            labels: [n] int64 in 0..num_classes-1.

        Returns:
            [side, side, 3] uint8 RGB.
        """
        ground = _ground_colour(rng)
        image = _textured((side, side), side, ground, rng)
        colours = self._colours(labels, num_classes, ground, rng)
        for outline, colour in zip(outlines[::-1], colours[::-1], strict=True):
            _draw(image, outline, colour, rng)
        return self._photographed(image)

    def _colours(
        self, labels: np.ndarray, num_classes: int, ground: np.ndarray, rng: np.random.Generator
    ) -> np.ndarray:
        """[n, 3] RGB in 0..255, saturated where the ground is grey."""
        hue, saturation, value = rng.random((3, len(labels)))
        hue = (labels / num_classes + (hue - 0.5) * (1 - self.colour_cue)) % 1
        full = _rgb(hue, 0.7 + 0.3 * saturation, 0.6 + 0.4 * value)
        return ground + self.contrast * (full - ground)

    def _photographed(self, image: np.ndarray) -> np.ndarray:
        if self.blur > 0:
            image = cv2.GaussianBlur(image, (0, 0), self.blur)
        if self.brightness != 1:
            image = cv2.convertScaleAbs(image, alpha=self.brightness)
        return image


def coverage(outline: np.ndarray, height: int, width: int) -> np.ndarray:
    """[height, width] uint8: the share of each pixel that the polygon `[V, 2]` covers, 255 for all.

    Drawn finer and averaged: cv2 fills every pixel that an outline touches, too much by half a
    pixel. Pixel i spans i..i+1, so its centre is at i + 0.5; cv2 puts it at i.
    """
    fine = np.zeros((height * _FINER, width * _FINER), dtype=np.uint8)
    points = np.rint((outline * _FINER - 0.5) * 2**_SUBPIXEL).astype(np.int32)
    cv2.fillPoly(fine, [points], 255, shift=_SUBPIXEL)
    return cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)


def _draw(
    image: np.ndarray, outline: np.ndarray, colour: np.ndarray, rng: np.random.Generator
) -> None:
    """Blends the part of a polygon that lies in the image into it, in place."""
    side = len(image)
    left, top = np.floor(outline.min(axis=0).clip(0, side)).astype(int)
    right, bottom = np.ceil(outline.max(axis=0).clip(0, side)).astype(int)
    share = cv2.merge([coverage(outline - [left, top], bottom - top, right - left)] * 3)
    paint = _textured((bottom - top, right - left), side, colour, rng)
    behind = image[top:bottom, left:right]
    painted = cv2.multiply(paint, share, scale=1 / 255)
    behind[:] = cv2.add(cv2.multiply(behind, 255 - share, scale=1 / 255), painted)


def _textured(
    shape: tuple[int, int], side: int, colour: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """`[*shape, 3]` uint8: random crop of a random texture, from a darker shade to the colour."""
    tiles = _textures(side)
    tile = tiles[rng.integers(len(tiles))]
    y, x = rng.integers(tile.shape[0] - shape[0]), rng.integers(tile.shape[1] - shape[1])
    darkest = colour * rng.uniform(0.45, 0.75)
    table = np.linspace(darkest, colour, 256).astype(np.uint8)[:, None]
    return cv2.applyColorMap(tile[y : y + shape[0], x : x + shape[1]], table)


def _ground_colour(rng: np.random.Generator) -> np.ndarray:
    """[3] RGB, greyish, from rather dark to light."""
    hue, saturation, value = rng.random(3)
    return _rgb(hue, 0.2 * saturation, 0.25 + 0.7 * value)


def _rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """[..., 3] in 0..255 from hue, saturation and value in [0, 1]."""
    sector = (np.asarray(hue)[..., None] * 6 + np.array([5.0, 3.0, 1.0])) % 6
    shade = np.minimum(sector, 4 - sector).clip(0, 1)
    return 255 * np.asarray(value)[..., None] * (1 - np.asarray(saturation)[..., None] * shade)


@functools.lru_cache(maxsize=4)
def _textures(side: int) -> tuple[np.ndarray, ...]:
    """Grey tiles, always the same for one image side; worker processes make their own."""
    extent = side + _SPARE
    rng = stream(0, name="textures of scenes")
    y, x = np.mgrid[:extent, :extent]
    waves = [np.sin(np.pi * wave / 5) for wave in (x, y, x + y, x - y)]
    checks = np.sign(np.sin(np.pi * x / 7) * np.sin(np.pi * y / 7))
    dots = np.cos(np.pi * x / 6) + np.cos(np.pi * y / 6)
    clouds = [_noise(extent, grids, rng) for grids in ((8, 32), (16, 64, 128), (64, 256), (256,))]
    return tuple(_stretched(tile) for tile in (*waves, checks, dots, *clouds))


def _noise(extent: int, grids: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Sum of random grids of so many cells a side, enlarged to the tile."""
    enlarged = [
        cv2.resize(rng.random((grid, grid)), (extent, extent), interpolation=cv2.INTER_CUBIC)
        for grid in grids
    ]
    return np.sum(enlarged, axis=0)


def _stretched(tile: np.ndarray) -> np.ndarray:
    """uint8 from 0 to 255; contiguous, as cv2 wants it."""
    tile = (tile - tile.min()) / np.ptp(tile)
    return np.ascontiguousarray(255 * tile).astype(np.uint8)
