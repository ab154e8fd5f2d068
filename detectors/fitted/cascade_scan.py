"""Scans a picture with a cascade: every place of its window at every scale."""

from typing import NamedTuple

import cv2
import numpy as np

from detectors.fitted.cascade import Buffer, Cascade, normalised, stage_sums, stages_for
from detectors.fitted.integral import integral, squared_integral, tilted_integral


class ScaledPicture(NamedTuple):
    """The picture at one scale, and where the windows lie in it."""

    image: np.ndarray  # [h, w] uint8
    scale: np.float32  # pixels of the picture per pixel of the layer
    step: int  # pixels of the layer between two windows


class Passed(NamedTuple):
    """Windows that passed every stage, ordered by layer, row and column."""

    layer: np.ndarray  # [n] int64
    places: np.ndarray  # [n, 2] int64, x and y of the upper left corner in the layer
    boxes: np.ndarray  # [n, 4] int64, x, y, width and height in the picture, or just beyond it
    margins: np.ndarray  # [n] float64, the sum of the last stage less the least that passes


def layers(
    grey: np.ndarray,
    window: tuple[int, int],
    factor: float = 1.1,
    smallest: int = 0,
    largest: int | None = None,
) -> list[ScaledPicture]:
    """The scales at which a window fits into a picture.

    Args:
        grey: [H, W] uint8.
        window: height and width in pixels of a layer.
        factor: between two scales, above 1.
        smallest, largest: sides in pixels of the picture between which a window must lie.
    """
    found: list[ScaledPicture] = []
    scale = 1.0
    while True:
        high, wide = (round(side * scale) for side in window)
        if high > grey.shape[0] or wide > grey.shape[1] or (largest and max(high, wide) > largest):
            return found
        if min(high, wide) >= smallest:
            found.append(_layer(grey, np.float32(scale)))
        scale *= factor


def scan(cascade: Cascade, pyramid: list[ScaledPicture]) -> Passed:
    """The windows that pass all stages, as OpenCV visits them.

    Where the first stage rejects a window, the next one in its row is passed over.
    """
    found = [_scan(cascade, pyramid, step) for step in sorted({layer.step for layer in pyramid})]
    if not found:
        none = np.zeros(0, np.int64)
        return Passed(none, none.reshape(0, 2), none.reshape(0, 4), np.zeros(0))
    windows = Passed(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    order = np.lexsort((*windows.places.T, windows.layer))
    return Passed(*(values[order] for values in windows))


def visited(rejected: np.ndarray) -> np.ndarray:
    """[rows, columns] bool: the windows that are looked at, each row from its left.

    Args:
        rejected: [rows, columns] bool, by the first stage, if it were asked.
    """
    column = np.arange(rejected.shape[1])
    begin = np.zeros(rejected.shape, np.int64)  # of the run of rejections that ends before
    begin[:, 1:] = np.where(rejected[:, :-1], 0, column[1:])
    return (column - np.maximum.accumulate(begin, axis=1)) % 2 == 0


def clipped(boxes: np.ndarray, height: int, width: int) -> np.ndarray:
    """Boxes [n, 4] x, y, width and height, cut to a picture."""
    size = np.array([width, height])
    low, high = boxes[:, :2].clip(min=0), (boxes[:, :2] + boxes[:, 2:]).clip(max=size)
    return np.concatenate([low, high - low], axis=1)


def _layer(grey: np.ndarray, scale: np.float32) -> ScaledPicture:
    height, width = (round(float(np.float32(side) / scale)) for side in grey.shape)
    image = cv2.resize(grey, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
    return ScaledPicture(image, scale, 1 if scale >= 2 else 2)


def _scan(cascade: Cascade, pyramid: list[ScaledPicture], step: int) -> Passed:
    """The windows of the layers with this step."""
    spots = _spots(pyramid, step)
    buffer = _buffer(pyramid, spots, step, bool(cascade.features.tilted.any()))
    numbers = _layer_of_windows(cascade, pyramid, spots, buffer)
    (windows,) = (numbers.ravel() >= 0).nonzero()
    factors = normalised(cascade, buffer, windows)
    varied, total, least = factors > 0, np.zeros(len(windows)), 0.0
    for i, stage in enumerate(stages_for(cascade, buffer)):
        total, least = stage_sums(stage, buffer, windows, factors), stage.least
        passed = total >= least
        if i == 0:
            rejected = np.zeros(numbers.shape, bool)
            rejected.ravel()[windows] = varied & ~passed
            passed &= visited(rejected).ravel()[windows]
            passed &= varied
        windows, factors, total = windows[passed], factors[passed], total[passed]
    if not len(cascade.stage_thresholds):
        windows, total = windows[varied], total[varied]
    layer = numbers.ravel()[windows]
    rows, columns = np.divmod(windows, buffer.columns)
    places = np.stack([columns, rows], axis=-1) * step - spots[layer]
    scales = np.array([layer.scale for layer in pyramid])[layer, None]
    boxes = _boxes(places, (cascade.width, cascade.height), scales)
    return Passed(layer, places, boxes, total - least)


def _spots(pyramid: list[ScaledPicture], step: int) -> np.ndarray:
    """Corners [l, 2] (x, y) of the layers with this step on their sheet, two or more abreast."""
    spots = np.full((len(pyramid), 2), -1)
    x = y = height = width = 0
    for i, layer in enumerate(pyramid):
        if layer.step != step:
            continue
        high, wide = (-(-(side + 1) // step) * step for side in layer.image.shape)
        width = width or 2 * wide
        if x + wide > width:
            x, y, height = 0, y + height, 0
        spots[i] = x, y
        x, height = x + wide, max(height, high)
    return spots


def _buffer(pyramid: list[ScaledPicture], spots: np.ndarray, step: int, tilted: bool) -> Buffer:
    """The integral images of the layers with this step."""
    chosen = [
        (layer.image, *spot) for layer, spot in zip(pyramid, spots, strict=True) if spot[0] >= 0
    ]
    rows = -(-max(y + len(image) + 1 for image, _, y in chosen) // step)
    columns = -(-max(x + image.shape[1] + 1 for image, x, _ in chosen) // step)
    sums = np.zeros((1 + tilted, rows * step, columns * step), np.int32)
    squares = np.zeros(sums.shape[1:], np.uint32)
    for image, x, y in chosen:
        part = np.s_[y : y + image.shape[0] + 1, x : x + image.shape[1] + 1]
        sums[0][part] = integral(image)
        squares[part] = squared_integral(image)
        if tilted:
            sums[1][part] = tilted_integral(image)
    return Buffer(_dealt(sums, step), _dealt(squares[None], step), step, rows, columns)


def _dealt(sheets: np.ndarray, step: int) -> np.ndarray:
    """Sheets [s, H, W] as `Buffer` has them, flat."""
    count, height, width = sheets.shape
    cells = sheets.reshape(count, height // step, step, width // step, step)
    return cells.transpose(0, 2, 4, 1, 3).ravel()


def _layer_of_windows(
    cascade: Cascade, pyramid: list[ScaledPicture], spots: np.ndarray, buffer: Buffer
) -> np.ndarray:
    """[rows, columns] int64: the layer of the window with its corner there; -1: there is none."""
    numbers = np.full((buffer.rows, buffer.columns), -1)
    for i, (layer, (x, y)) in enumerate(zip(pyramid, spots // buffer.step, strict=True)):
        if spots[i, 0] >= 0:
            height, width = layer.image.shape
            rows = (height - cascade.height) // layer.step + 1
            columns = (width - cascade.width) // layer.step + 1
            numbers[y : y + rows, x : x + columns] = i
    return numbers


def _boxes(places: np.ndarray, sides: tuple[int, int], scales: np.ndarray) -> np.ndarray:
    """Windows in the picture, [n, 4] x, y, width and height."""
    corners = np.concatenate([places, np.broadcast_to(sides, places.shape)], axis=1)
    return np.rint(corners.astype(np.float32) * scales).astype(np.int64)
