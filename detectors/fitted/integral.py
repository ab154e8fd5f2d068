"""Integral images: the sum over any rectangle from four numbers (Viola & Jones 2004, sec. 2.1).

They have one row and one column more than the image. Sums are kept in 32 bits and may wrap around;
what is right is each difference that itself fits, and so is every rectangle of a window.
"""

import numpy as np


def integral(image: np.ndarray) -> np.ndarray:
    """Sums [..., H + 1, W + 1] int32: at (y, x) of all pixels above row y and left of column x.

    Args:
        image: [..., H, W] uint8.
    """
    return _summed(image, np.int32)


def squared_integral(image: np.ndarray) -> np.ndarray:
    """As `integral`, of the squares of the pixels; uint32."""
    return _summed(np.square(image, dtype=np.uint32), np.uint32)


def tilted_integral(image: np.ndarray) -> np.ndarray:
    """Sums [H + 1, W + 1] int32 over triangles that open upwards at 45 degrees.

    At (y, x) of the pixels (v, u) with v < y and |u - x + 1| <= y - 1 - v (Lienhart & Maydt 2002,
    sec. 2.2, with the origin of OpenCV).

    Args:
        image: [H, W] uint8.
    """
    height, width = image.shape
    above = np.zeros((height + 1, width + 2), np.int32)  # above each pixel, one column around
    above[1:, 1:-1] = image
    sums = np.zeros((height + 1, width + 1), np.int32)
    sums[1:] = above[1:, :-1]
    if height > 1:
        sums[2:] += above[1:-1, :-1]
    for y in range(2, height + 1):
        left, right = sums[y - 1, :-1], sums[y - 1, 1:]
        sums[y, 0] += right[0]
        sums[y, 1:-1] += left[:-1] + right[1:] - sums[y - 2, 1:-1]
        sums[y, -1] += left[-1]
    return sums


def upright_corners(rectangles: np.ndarray) -> np.ndarray:
    """Points [..., 4, 2] (x, y) of an integral image; the sum is 1st - 2nd - 3rd + 4th.

    Args:
        rectangles: [..., 4] x, y, width, height in pixels.
    """
    x, y, width, height = np.moveaxis(rectangles, -1, 0)
    return _points((x, y), (x + width, y), (x, y + height), (x + width, y + height))


def tilted_corners(rectangles: np.ndarray) -> np.ndarray:
    """As `upright_corners`, of a tilted integral image.

    Args:
        rectangles: [..., 4] x and y of the upper corner, then how far the side to the lower right
            and that to the lower left reach, in pixels along each axis.
    """
    x, y, width, height = np.moveaxis(rectangles, -1, 0)
    right, left = (x + width, y + width), (x - height, y + height)
    return _points((x, y), left, right, (x + width - height, y + width + height))


def _summed(values: np.ndarray, dtype: type) -> np.ndarray:
    *rest, height, width = values.shape
    sums = np.zeros((*rest, height + 1, width + 1), dtype)
    inner = sums[..., 1:, 1:]
    np.cumsum(values, axis=-1, dtype=dtype, out=inner)
    np.cumsum(inner, axis=-2, dtype=dtype, out=inner)
    return sums


def _points(*corners: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return np.stack([np.stack(corner, axis=-1) for corner in corners], axis=-2)
