"""Histograms of oriented gradients, as OpenCV's `HOGDescriptor` computes them by default.

Dalal and Triggs 2005, "Histograms of Oriented Gradients for Human Detection". Where OpenCV does
not do what the paper says, this does what OpenCV does: the Gaussian of a block has sigma 4 around
pixel 8 (8 around 7.5 in the paper, sec. 6.4), and the angle is its approximation.
"""

import numpy as np

CELL = 8  # pixels of a side; also from one block to the next, and from one window to the next
BLOCK = 2  # cells of a side
BINS = 9  # of unsigned orientations
OF_BLOCK = BLOCK * BLOCK * BINS
CLIP = 0.2  # of a normalised block, sec. 6.4
SIGMA = 4.0
# fastAtan2 in OpenCV's mathfuncs_core: an odd polynomial in the smaller by the larger side.
ARCTAN = np.array([-0.04432655554792128, 0.1555786518463281, -0.3258083974640975], np.float32)
ARCTAN_1 = np.float32(0.9997878412794807)


def block_map(picture: np.ndarray) -> np.ndarray:
    """The normalised histograms of all blocks, one from each cell on to the right and down.

    Args:
        picture: [H, W, 3] uint8.

    Returns:
        [H // 8 - 1, W // 8 - 1, 36] float32; of a block, four cells, the left ones first, and of
        these the upper ones first, with nine orientations each. Empty where the picture is smaller
        than a block.
    """
    rows, columns = (side // CELL for side in picture.shape[:2])
    if min(rows, columns) < BLOCK:
        return np.zeros((max(rows - 1, 0), max(columns - 1, 0), OF_BLOCK), np.float32)
    votes = orientation_votes(*gradients(picture))[: rows * CELL, : columns * CELL]
    return normalised(histograms(votes))


def gradients(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Differences of the neighbours of each pixel to the right and down, [H, W] float32.

    Of the square roots of the channels of [H, W, 3], that counts whose gradient is the longest, the
    first of those equally long. The picture is mirrored at its border pixels (sec. 6.2).
    """
    roots = np.sqrt(np.arange(256, dtype=np.float32))[picture]
    wide = np.pad(roots, ((0, 0), (1, 1), (0, 0)), mode="reflect")
    high = np.pad(roots, ((1, 1), (0, 0), (0, 0)), mode="reflect")
    across, down = wide[:, 2:] - wide[:, :-2], high[2:] - high[:-2]
    best = (across * across + down * down).argmax(-1)[..., None]
    along = np.take_along_axis(across, best, -1), np.take_along_axis(down, best, -1)
    return along[0][..., 0], along[1][..., 0]


def angles(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """Direction of each gradient in radians, in [0, 2 pi], within 0.005 of the true one."""
    wide, high = np.abs(across), np.abs(down)
    ratio = np.minimum(wide, high) / (np.maximum(wide, high) + np.float32(np.finfo(float).eps))
    square = ratio * ratio
    angle = ((ARCTAN[0] * square + ARCTAN[1]) * square + ARCTAN[2]) * square + ARCTAN_1
    angle = angle * ratio
    angle = np.where(wide >= high, angle, np.float32(np.pi / 2) - angle)
    angle = np.where(across < 0, np.float32(np.pi) - angle, angle)
    return np.where(down < 0, np.float32(2 * np.pi) - angle, angle)


def orientation_votes(across: np.ndarray, down: np.ndarray) -> np.ndarray:
    """The length of each gradient, shared by the two orientations nearest to its own.

    Returns:
        [H, W, 9] float32; bin k is around (k + 0.5) pi / 9, and opposite directions are one.
    """
    length = np.sqrt(across * across + down * down)
    place = angles(across, down) * np.float32(BINS / np.pi) - np.float32(0.5)
    low = np.floor(place)
    share = place - low
    first = low.astype(np.int64) % BINS
    votes = np.zeros((*across.shape, BINS), np.float32)
    np.put_along_axis(votes, first[..., None], (length * (1 - share))[..., None], -1)
    np.put_along_axis(votes, ((first + 1) % BINS)[..., None], (length * share)[..., None], -1)
    return votes


def cell_weights() -> np.ndarray:
    """[2, 16] float32: what a pixel of a block weighs in each cell, along one side.

    Linear between the centres of the cells, and the Gaussian of the block; both are separable.
    """
    pixel = np.arange(BLOCK * CELL)
    place = (pixel + 0.5) / CELL - 0.5
    near = np.maximum(0, 1 - np.abs(place - np.arange(BLOCK)[:, None]))
    gauss = np.exp(-((pixel - BLOCK * CELL / 2) ** 2) / (2 * SIGMA**2))
    return (near * gauss).astype(np.float32)


def histograms(votes: np.ndarray) -> np.ndarray:
    """Sums of the votes [8 R, 8 C, 9] over the blocks, [R - 1, C - 1, 2, 2, 9].

    Cells are numbered to the right, then down.
    """
    weights = cell_weights()
    rows = _halves(votes, weights)  # [R - 1, 2, 8 C, 9]
    columns = _halves(rows.transpose(2, 0, 1, 3), weights)  # [C - 1, 2, R - 1, 2, 9]
    return columns.transpose(2, 0, 1, 3, 4)


def _halves(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted sums [n - 1, 2, ...] of 16 rows each, from every eighth row of [8 n, ...] on."""
    parts = values.reshape(-1, CELL, int(np.prod(values.shape[1:])))
    upper, lower = weights[:, :CELL], weights[:, CELL:]
    sums = np.matmul(upper, parts[:-1]) + np.matmul(lower, parts[1:])
    return sums.reshape(len(parts) - 1, BLOCK, *values.shape[1:])


def normalised(blocks: np.ndarray) -> np.ndarray:
    """Blocks [R, C, 2, 2, 9] of length one, clipped and again of length one, [R, C, 36].

    L2-Hys of sec. 6.4, with OpenCV's numbers against a division by zero.
    """
    flat = blocks.reshape(*blocks.shape[:2], OF_BLOCK)
    flat = flat / (_length(flat) + np.float32(0.1 * OF_BLOCK))
    flat = np.minimum(flat, np.float32(CLIP))
    return flat / (_length(flat) + np.float32(1e-3))


def _length(rows: np.ndarray) -> np.ndarray:
    return np.sqrt((rows * rows).sum(-1, keepdims=True))


def descriptor(blocks: np.ndarray) -> np.ndarray:
    """The numbers of one window in OpenCV's order: blocks column by column.

    Args:
        blocks: [h, w, 36], those of the window.
    """
    return blocks.transpose(1, 0, 2).reshape(-1)


def filter_of(weights: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Weights [w h 36] in the order of `descriptor` as a filter on blocks, [h, w, 36].

    Args:
        rows, columns: cells of the window; it has one block less along each side.
    """
    return weights.reshape(columns - 1, rows - 1, OF_BLOCK).transpose(1, 0, 2)
