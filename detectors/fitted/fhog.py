"""The 32 features of a cell that deformable part models look at (Felzenszwalb et al. 2010, sec. 6).

As in voc-release5 (`features.cc`).
"""

from collections.abc import Sequence

import numpy as np

CHANNELS = 32  # 18 signed and 9 unsigned orientations, 4 of texture, 1 outside the picture
_ORIENTATIONS = 9
_EPSILON = 1e-4
_MOST = 0.2  # of a normalised histogram
_TEXTURE = 0.2357
MIRRORED = [  # which channel of the mirror image each one was
    *((9 - o) % 18 for o in range(18)),
    *(18 + (9 - o) % 9 for o in range(9)),
    *(29, 30, 27, 28, 31),
]


def fhog(image: np.ndarray, cell: int = 8) -> np.ndarray:
    """Features [h, w, 32] float32 of the cells of an image but those at its border.

    Args:
        image: [H, W, 3], 0 to 255; H / cell and W / cell are rounded, and h and w are 2 less.
        cell: side in pixels.
    """
    return fhogs(image, (cell,))[0]


def fhogs(image: np.ndarray, cells: Sequence[int]) -> list[np.ndarray]:
    """As `fhog`, for several sides of a cell, which see the same gradients."""
    counts = [(round(image.shape[0] / cell), round(image.shape[1] / cell)) for cell in cells]
    if min(image.shape[:2]) < 3:
        return [_none(rows, columns) for rows, columns in counts]
    steps = _gradients(image)
    pairs = zip(cells, counts, strict=True)
    return [_none(*n) if min(n) < 3 else _features(*steps, cell, n) for cell, n in pairs]


def mirrored(features: np.ndarray) -> np.ndarray:
    """Features [..., h, w, 32] of the mirror image, whose columns come in the other order."""
    return features[..., ::-1, MIRRORED]


def padded(features: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Features with cells around them that lie outside the picture."""
    sides = ((rows, rows), (columns, columns), (0, 0))
    wider = np.pad(features, sides)
    wider[..., -1] = np.pad(features[..., -1], sides[:2], constant_values=1.0)
    return wider


def _none(rows: int, columns: int) -> np.ndarray:
    """Of an image in which no cell has others on all sides."""
    return np.zeros((max(rows - 2, 0), max(columns - 2, 0), CHANNELS), np.float32)


def _gradients(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Length float32 and orientation (0 to 17) of the steepest channel, [H - 2, W - 2].

    Of equally near orientations the lower one, where the second nine are opposite to the first.
    """
    pixels = np.ascontiguousarray(image.transpose(2, 0, 1), np.float32)
    down = pixels[:, 2:, 1:-1] - pixels[:, :-2, 1:-1]
    right = pixels[:, 1:-1, 2:] - pixels[:, 1:-1, :-2]
    dy, dx = down[0], right[0]
    square = dx * dx + dy * dy
    for channel in (1, 2):
        other = np.square(right[channel]) + np.square(down[channel])
        steeper = other > square
        for own, new in ((dx, right[channel]), (dy, down[channel]), (square, other)):
            np.copyto(own, new, where=steeper)
    turns = np.arctan2(dy, dx) * np.float32(_ORIENTATIONS / np.pi)
    orientation = np.ceil(turns - np.float32(0.5 + 1e-6)).astype(np.int64)
    orientation[orientation < 0] += 2 * _ORIENTATIONS
    return np.sqrt(square), orientation


def _features(
    magnitude: np.ndarray, orientation: np.ndarray, cell: int, counts: tuple[int, int]
) -> np.ndarray:
    """Where cells reach out of the image, its last pixels but one are repeated."""
    rows, columns = (count * cell - 2 for count in counts)
    lengths, orientations = (_sized(v, rows, columns) for v in (magnitude, orientation))
    histogram = _histograms(lengths, orientations, cell, counts)
    unsigned = histogram[..., :_ORIENTATIONS] + histogram[..., _ORIENTATIONS:]
    norms = _norms(np.square(unsigned).sum(axis=-1))
    signed, unsigned = histogram[1:-1, 1:-1], unsigned[1:-1, 1:-1]
    features = np.zeros((*signed.shape[:2], CHANNELS), np.float32)
    for k, norm in enumerate(norms):
        capped = np.minimum(signed * norm[..., None], _MOST)
        features[..., :18] += 0.5 * capped
        features[..., 18:27] += 0.5 * np.minimum(unsigned * norm[..., None], _MOST)
        features[..., 27 + k] = _TEXTURE * capped.sum(axis=-1)
    return features


def _sized(values: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Cut to so many rows and columns, or with the last ones repeated."""
    more = max(rows - values.shape[0], 0), max(columns - values.shape[1], 0)
    wider = np.pad(values, ((0, more[0]), (0, more[1])), mode="edge") if any(more) else values
    return wider[:rows, :columns]


def _histograms(
    magnitude: np.ndarray, orientation: np.ndarray, cell: int, counts: tuple[int, int]
) -> np.ndarray:
    """[rows, columns, 18]: each pixel votes for the four nearest cells, bilinearly."""
    rows, columns = counts
    (top, down), (left, right) = (_shares(side, cell) for side in magnitude.shape)
    total = np.zeros((rows + 2) * (columns + 2) * 18)  # one cell around, which is cut off
    places = ((top[:, None] * (columns + 2) + left) * 18 + orientation).ravel()
    for y, vertical in ((0, 1 - down), (1, down)):
        votes = magnitude * vertical[:, None]
        for x, horizontal in ((0, 1 - right), (1, right)):
            first = (y * (columns + 2) + x) * 18
            found = np.bincount(places, (votes * horizontal).ravel(), minlength=len(total))
            total[first:] += found[: len(total) - first]
    return total.reshape(rows + 2, columns + 2, 18)[1:-1, 1:-1].astype(np.float32)


def _shares(pixels: int, cell: int) -> tuple[np.ndarray, np.ndarray]:
    """The former of the two nearest cells, counted from -1 as 0, and the share of the latter."""
    place = (np.arange(1, pixels + 1) + 0.5) / cell - 0.5
    former = np.floor(place)
    return former.astype(np.int64) + 1, (place - former).astype(np.float32)


def _norms(energy: np.ndarray) -> list[np.ndarray]:
    """Four factors for each inner cell, one for each square of 2 x 2 cells that it lies in."""
    squares = energy[:-1, :-1] + energy[1:, :-1] + energy[:-1, 1:] + energy[1:, 1:]
    norms = 1 / np.sqrt(squares + _EPSILON)
    return [norms[1:, 1:], norms[:-1, 1:], norms[1:, :-1], norms[:-1, :-1]]
