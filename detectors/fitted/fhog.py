"""The 32 features of a cell that deformable part models look at (Felzenszwalb et al. 2010, sec. 6).

As in voc-release5 (`features.cc`).
"""

import numpy as np

CHANNELS = 32  # 18 signed and 9 unsigned orientations, 4 of texture, 1 outside the picture
_ORIENTATIONS = 9
_EPSILON = 1e-4
_MOST = 0.2  # of a normalised histogram
_TEXTURE = 0.2357


def fhog(image: np.ndarray, cell: int = 8) -> np.ndarray:
    """Features [h, w, 32] float32 of the cells of an image but those at its border.

    Args:
        image: [H, W, 3], 0 to 255; H / cell and W / cell are rounded, and h and w are 2 less.
        cell: side in pixels.
    """
    counts = round(image.shape[0] / cell), round(image.shape[1] / cell)
    if min(counts) < 3 or min(image.shape[:2]) < 3:
        return np.zeros((max(counts[0] - 2, 0), max(counts[1] - 2, 0), CHANNELS), np.float32)
    magnitude, orientation = _gradients(image, counts[0] * cell, counts[1] * cell)
    histogram = _histograms(magnitude, orientation, cell, counts)
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


def padded(features: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Features with cells around them that lie outside the picture."""
    sides = ((rows, rows), (columns, columns), (0, 0))
    wider = np.pad(features, sides)
    wider[..., -1] = np.pad(features[..., -1], sides[:2], constant_values=1.0)
    return wider


def _gradients(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Length and orientation (0 to 17) of the steepest channel, for pixels 1 to side - 2.

    Where cells reach out of the image, its last pixels but one are repeated.
    """
    pixels = image.astype(np.float32)
    rows = np.minimum(np.arange(1, height - 1), image.shape[0] - 2)
    columns = np.minimum(np.arange(1, width - 1), image.shape[1] - 2)
    dy = pixels[rows + 1][:, columns] - pixels[rows - 1][:, columns]
    dx = pixels[rows][:, columns + 1] - pixels[rows][:, columns - 1]
    squares = dx * dx + dy * dy
    steepest = squares.argmax(axis=-1)[..., None]
    dx, dy, square = (np.take_along_axis(v, steepest, -1)[..., 0] for v in (dx, dy, squares))
    best, orientation = np.zeros_like(dx), np.zeros(dx.shape, np.int64)
    for o in range(_ORIENTATIONS):
        angle = o * np.pi / _ORIENTATIONS
        dot = np.float32(np.cos(angle)) * dx + np.float32(np.sin(angle)) * dy
        better = np.abs(dot) > best
        best = np.where(better, np.abs(dot), best)
        orientation = np.where(better, np.where(dot > 0, o, o + _ORIENTATIONS), orientation)
    return np.sqrt(square), orientation


def _histograms(
    magnitude: np.ndarray, orientation: np.ndarray, cell: int, counts: tuple[int, int]
) -> np.ndarray:
    """[rows, columns, 18]: each pixel votes for the four nearest cells, bilinearly."""
    rows, columns = counts
    (top, down), (left, right) = (_shares(side, cell) for side in magnitude.shape)
    total = np.zeros((rows + 2) * (columns + 2) * 18)  # one cell around, which is cut off
    for y, vertical in ((0, 1 - down), (1, down)):
        for x, horizontal in ((0, 1 - right), (1, right)):
            places = ((top + y)[:, None] * (columns + 2) + left + x) * 18 + orientation
            votes = magnitude * vertical[:, None] * horizontal
            total += np.bincount(places.ravel(), votes.ravel(), minlength=len(total))
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
