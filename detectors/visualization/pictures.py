"""Draws boxes on images, and contact sheets."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from detectors.structures import Batch, Detections

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GREY = (160, 160, 160)


class _Marks(NamedTuple):
    """Boxes to be drawn on one image, with captions and colours."""

    boxes: np.ndarray  # [n, 4] xyxy pixels
    captions: list[str]
    colours: list[tuple[int, int, int]]


def drawn(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    scores: np.ndarray | None = None,
) -> Image.Image:
    """The image with boxes, class names and scores; the most certain box on top.

    Args:
        image: [H, W, 3] uint8 RGB; not changed.
        boxes: [n, 4] xyxy pixels.
        labels: [n] in 0..C-1.
        classes: name of each label.
        scores: [n] in [0, 1]; None: not written.
    """
    return Image.fromarray(_marked(image, _named(boxes, labels, classes, scores)))


def side_by_side(
    batch: Batch,
    detections: Detections,
    index: int,
    classes: Sequence[str],
    threshold: float = 0.3,
) -> Image.Image:
    """One image of a batch twice: ground truth left, detections right.

    Only the part that the picture fills is shown, small ones enlarged. Objects to be ignored are
    grey.

    Args:
        batch: on any device.
        detections: of the batch, in pixels of its canvas.
        index: which image.
        classes: name of each label.
        threshold: detections with lower scores are left out.
    """
    image, scale, corner = _picture(batch, index)
    sides = []
    for marks, title in (
        (_truth(batch, index, classes), "ground truth"),
        (_found(detections, index, classes, threshold), f"detections, score >= {threshold}"),
    ):
        placed = marks._replace(boxes=(marks.boxes - np.tile(corner, 2)) * scale)
        sides.append(titled(_marked(image, placed), title))
    return Image.fromarray(_joined(sides, columns=2))


def contact_sheet(images: Sequence[np.ndarray], columns: int) -> Image.Image:
    """Images `[H, W, 3]` uint8 RGB of any sizes in rows of so many, on white.

    Raises:
        ValueError: there is no image, or no column.
    """
    if not images or columns < 1:
        raise ValueError(f"contact sheet: {len(images)} images in {columns} columns")
    return Image.fromarray(_joined(images, columns))


def _named(
    boxes: np.ndarray, labels: np.ndarray, classes: Sequence[str], scores: np.ndarray | None
) -> _Marks:
    names = [classes[label] for label in labels]
    if scores is None:
        return _Marks(boxes, names, [label_colour(label) for label in labels])
    order = np.argsort(scores, kind="stable")
    captions = [f"{names[row]} {scores[row]:.2f}" for row in order]
    return _Marks(boxes[order], captions, [label_colour(labels[row]) for row in order])


def _truth(batch: Batch, index: int, classes: Sequence[str]) -> _Marks:
    targets = batch.targets
    valid = _array(targets.valid[index])
    boxes, labels, ignore = (
        _array(column[index])[valid] for column in (targets.boxes, targets.labels, targets.ignore)
    )
    marks = _named(boxes, labels, classes, None)
    colours = [_GREY if grey else c for grey, c in zip(ignore, marks.colours, strict=True)]
    return marks._replace(colours=colours)


def _found(detections: Detections, index: int, classes: Sequence[str], threshold: float) -> _Marks:
    scores = _array(detections.scores[index])
    shown = _array(detections.valid[index]) & (scores >= threshold)
    boxes, labels = _array(detections.boxes[index]), _array(detections.labels[index])
    return _named(boxes[shown], labels[shown], classes, scores[shown])


def _array(tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def _picture(batch: Batch, index: int) -> tuple[np.ndarray, int, np.ndarray]:
    """The picture without padding, its enlargement, and its corner `[2]` on the canvas."""
    left, top, right, bottom = np.rint(_array(batch.frames[index])).astype(int)
    picture = _array(batch.images[index].permute(1, 2, 0))[top:bottom, left:right]
    picture = np.ascontiguousarray(picture.clip(0, 255), dtype=np.uint8)
    height, width = picture.shape[:2]
    scale = math.ceil(480 / max(height, width))
    large = cv2.resize(picture, (width * scale, height * scale), interpolation=cv2.INTER_CUBIC)
    return large.astype(np.uint8), scale, np.array([left, top])


def label_colour(label: int) -> tuple[int, int, int]:
    """RGB; steps of the golden ratio round the colour circle keep neighbouring labels apart."""
    hue = int(360 * (label * 0.618034 % 1))
    pixel = np.array([[[hue, 0.8, 1.0]]], dtype=np.float32)
    red, green, blue = (255 * cv2.cvtColor(pixel, cv2.COLOR_HSV2RGB)[0, 0]).astype(int).tolist()
    return red, green, blue


def _marked(image: np.ndarray, marks: _Marks) -> np.ndarray:
    """A copy with all boxes, then all captions, so that no box crosses a caption."""
    image = np.ascontiguousarray(image).copy()
    thick = max(1, round(min(image.shape[:2]) / 320))
    corners = np.rint(marks.boxes).astype(int).reshape(-1, 2, 2).tolist()
    for (start, end), colour in zip(corners, marks.colours, strict=True):
        cv2.rectangle(image, start, end, (0, 0, 0), thick + 2)
        cv2.rectangle(image, start, end, colour, thick)
    for (start, _), colour, caption in zip(corners, marks.colours, marks.captions, strict=True):
        _write(image, caption, start, colour)
    return image


def _write(
    image: np.ndarray, text: str, corner: Sequence[int], ground: tuple[int, int, int]
) -> None:
    """Text on a coloured ground above a corner, moved inside the image, in place."""
    size = max(0.4, min(image.shape[:2]) / 1100)
    thick = max(1, round(2 * size))
    (width, height), below = cv2.getTextSize(text, _FONT, size, thick)
    left = max(0, min(corner[0], image.shape[1] - width - 4))
    base = max(height + 3, corner[1] - below)
    cv2.rectangle(image, (left, base - height - 3), (left + width + 4, base + below), ground, -1)
    bright = np.dot(ground, (0.299, 0.587, 0.114)) > 140
    ink = (0, 0, 0) if bright else (255, 255, 255)
    cv2.putText(image, text, (left + 2, base), _FONT, size, ink, thick, cv2.LINE_AA)


def titled(image: np.ndarray, *lines: str) -> np.ndarray:
    """The image under a white strip with the lines of a title."""
    strip = np.full((4 + 22 * len(lines), image.shape[1], 3), 255, dtype=np.uint8)
    for row, line in enumerate(lines):
        cv2.putText(strip, line, (4, 18 + 22 * row), _FONT, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([strip, image])


def _joined(images: Sequence[np.ndarray], columns: int, gap: int = 6) -> np.ndarray:
    """Row after row on white; every cell is as large as the largest image."""
    height = max(image.shape[0] for image in images) + gap
    width = max(image.shape[1] for image in images) + gap
    rows = math.ceil(len(images) / columns)
    sheet = np.full((rows * height, columns * width, 3), 255, dtype=np.uint8)
    for place, image in enumerate(images):
        top, left = place // columns * height, place % columns * width
        sheet[top : top + image.shape[0], left : left + image.shape[1]] = image
    return sheet
