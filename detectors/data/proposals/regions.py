"""Segments of a picture, what they look like, and how alike two of them are (selective search)."""

import math
from collections.abc import Collection
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import find_objects

COLOURS = 25  # bins of a channel; Uijlings et al. 2013, sec. 3.2.1
STRENGTHS, DIRECTIONS = 10, 8  # bins and orientations of the texture of a channel; ibid.
SIMILARITIES = ("colour", "texture", "size", "fill")


class Segments(NamedTuple):
    """What a similarity looks at, of n regions; merging keeps it without a look at the pixels."""

    sizes: np.ndarray  # [n] float64, pixels
    boxes: np.ndarray  # [n, 4] int64 xyxy, the right and lower ends exclusive
    histograms: np.ndarray  # [n, d] float64, those of colour and texture that are compared, joined


def described(
    labels: np.ndarray, image: np.ndarray, texture: np.ndarray, members: Collection[str]
) -> Segments:
    """The regions of a segmentation.

    Args:
        labels: [H, W] int64, 0..n-1, each with at least a pixel.
        image: [H, W, c] uint8.
        texture: `texture_bins` of the image.
        members: of SIMILARITIES; only the histograms that they compare are made.
    """
    sizes = np.bincount(labels.ravel()).astype(np.float64)
    spans = find_objects(labels + 1)
    boxes = np.array([(x.start, y.start, x.stop, y.stop) for y, x in spans], np.int64)
    parts = [np.zeros((len(sizes), 0))]
    if "colour" in members:
        parts.append(colour_histograms(labels, image, sizes))
    if "texture" in members:
        parts.append(texture_histograms(labels, texture, sizes))
    return Segments(sizes, boxes, np.concatenate(parts, axis=1))


def colour_histograms(labels: np.ndarray, image: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """[n, 25 * c] how the values of each channel are spread over a region; a row sums to 1."""
    bins = image.astype(np.int64) * COLOURS // 256
    counts = [_counts(labels, bins[..., k], COLOURS, len(sizes)) for k in range(image.shape[-1])]
    return np.concatenate(counts, axis=1) / (sizes[:, None] * len(counts))


def texture_bins(image: np.ndarray) -> np.ndarray:
    """[c, 4, H, W] uint8: strength 0..9 of the derivative in four directions, plus 10 if it falls.

    Gaussian derivatives of deviation 1 in eight orientations (Uijlings et al. 2013, sec. 3.2.1).
    One that rises in a direction falls in the opposite one, so four say all. Strengths are tenths
    of the largest in the channel; the paper leaves their range open.

    Args:
        image: [H, W, c] uint8.
    """
    along, across = _derivative_kernels()
    values = image.astype(np.float32)
    x = cv2.sepFilter2D(values, cv2.CV_32F, along, across, borderType=cv2.BORDER_REFLECT)
    y = cv2.sepFilter2D(values, cv2.CV_32F, across, along, borderType=cv2.BORDER_REFLECT)
    x, y = (part.reshape(image.shape).transpose(2, 0, 1) for part in (x, y))
    angles = [2 * math.pi * k / DIRECTIONS for k in range(DIRECTIONS // 2)]
    steered = np.stack([math.cos(a) * x + math.sin(a) * y for a in angles], axis=1)
    strength = np.abs(steered)
    largest = np.maximum(strength.max(axis=(1, 2, 3), keepdims=True), 1e-6)
    bins = np.minimum(strength * (STRENGTHS / largest), STRENGTHS - 1).astype(np.uint8)
    return bins + STRENGTHS * (steered < 0).astype(np.uint8)


def _derivative_kernels() -> tuple[np.ndarray, np.ndarray]:
    """Of a Gaussian of deviation 1, its derivative and itself, as correlation takes them."""
    place = np.arange(-4, 5, dtype=np.float32)
    bell = np.exp(-(place**2) / 2)
    bell /= bell.sum()
    return place * bell, bell


def texture_histograms(labels: np.ndarray, bins: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """[n, 80 * c] strengths of the eight directions of each channel; a row sums to 1.

    A derivative that falls has strength 0 in its own direction, and its own in the opposite one.

    Args:
        bins: `texture_bins`.
    """
    parts = []
    for signed in bins.reshape(-1, *labels.shape):
        counts = _counts(labels, signed, 2 * STRENGTHS, len(sizes))
        rising, falling = counts[:, :STRENGTHS], counts[:, STRENGTHS:]
        for own, other in ((rising, falling), (falling, rising)):
            found = own.copy()
            found[:, 0] += other.sum(axis=1)
            parts.append(found)
    return np.concatenate(parts, axis=1) / (sizes[:, None] * len(parts))


def _counts(labels: np.ndarray, bins: np.ndarray, most: int, regions: int) -> np.ndarray:
    """[n, most] how often each value of `bins` occurs in each region."""
    flat = labels.ravel() * most + bins.ravel()
    return np.bincount(flat, minlength=regions * most).reshape(regions, most).astype(np.float64)


def neighbours(labels: np.ndarray) -> np.ndarray:
    """[p, 2] int64 pairs of regions, lower number first, that touch at a side or a corner."""
    count = int(labels.max()) + 1
    sides = (
        (labels[:, :-1], labels[:, 1:]),
        (labels[:-1], labels[1:]),
        (labels[:-1, :-1], labels[1:, 1:]),
        (labels[:-1, 1:], labels[1:, :-1]),
    )
    found = []
    for one, other in sides:
        apart = one != other
        low, high = np.minimum(one[apart], other[apart]), np.maximum(one[apart], other[apart])
        found.append(np.unique(low * count + high))
    codes = np.unique(np.concatenate(found))
    return np.stack([codes // count, codes % count], axis=1)


def similarity(a: Segments, b: Segments, members: Collection[str], pixels: int) -> np.ndarray:
    """[n] mean of some similarities of regions with others, each in [0, 1].

    Uijlings et al. 2013, sec. 3.2, equations 1, 3, 5 and 6; their sum is ours times their number.
    Colour and texture are both sums of minima, hence one sum over the joined histograms.

    Args:
        a, b: of as many regions, or one.
        members: of SIMILARITIES.
        pixels: of the picture.
    """
    total = np.minimum(a.histograms, b.histograms).sum(axis=1)
    sizes = a.sizes + b.sizes
    if "size" in members:
        total = total + (1 - sizes / pixels)
    if "fill" in members:
        boxes = joined_boxes(a.boxes, b.boxes)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        total = total + np.clip(1 - (area - sizes) / pixels, 0, 1)
    return total / len(members)


def joined_boxes(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[n, 4] the smallest boxes round pairs."""
    low, high = np.minimum(a[:, :2], b[:, :2]), np.maximum(a[:, 2:], b[:, 2:])
    return np.concatenate([low, high], axis=1)


def rows(regions: Segments, index: slice | np.ndarray) -> Segments:
    """Some of the regions."""
    return Segments(*(field[index] for field in regions))
