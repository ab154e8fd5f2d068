"""Writes detections picture by picture while they are made, so that none need be remembered."""

import csv
import json
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from detectors.files import whole_file
from detectors.metrics.packed import PackedDetections
from detectors.metrics.report import ROW, result_rows
from detectors.structures import Picture

Write = Callable[[int, Picture, PackedDetections], None]  # of the picture with an image id
COLUMNS = ("file", "frame", "class", "score", "x1", "y1", "x2", "y2")


@contextmanager
def coco_file(path: Path, category_ids: Sequence[int]) -> Iterator[Write]:
    """COCO's results file, byte for byte that of `write_coco_results`."""

    def rows(image_id: int, picture: Picture, found: PackedDetections) -> list[str]:
        return [ROW % row for row in result_rows(found, category_ids)]

    with whole_file(path) as file, _listed(file, rows) as write:
        yield write


@contextmanager
def image_file(path: Path) -> Iterator[Write]:
    """JSON rows `id`, `file_name`; of a frame also its number `frame`, and its time `seconds`."""

    def rows(image_id: int, picture: Picture, found: PackedDetections) -> list[str]:
        row: dict[str, Any] = {"id": image_id, "file_name": picture.file}
        if picture.number is not None:
            row |= {"frame": picture.number, "seconds": picture.seconds}
        return [textwrap.indent(json.dumps(row, indent=2), "  ")]

    with whole_file(path) as file, _listed(file, rows) as write:
        yield write


@contextmanager
def csv_file(path: Path, classes: Sequence[str]) -> Iterator[Write]:
    """A table with a row for each box in pixels; `frame` is empty for pictures."""
    with whole_file(path) as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(COLUMNS)

        def write(image_id: int, picture: Picture, found: PackedDetections) -> None:
            names = [classes[label] for label in found.labels]
            scored = zip(names, found.scores.tolist(), found.boxes.tolist(), strict=True)
            table.writerows(
                (picture.file, picture.number, name, score, *box) for name, score, box in scored
            )

        yield write


@contextmanager
def yolo_files(folder: Path) -> Iterator[Write]:
    """A text file for each picture, a line `class x y width height score` for each box.

    Centre and size are parts of the picture's width and height. A file without a line says that
    nothing was found.
    """
    folder.mkdir(exist_ok=True)

    def write(image_id: int, picture: Picture, found: PackedDetections) -> None:
        height, width = picture.image.shape[:2]
        start, end = found.boxes[:, :2], found.boxes[:, 2:]
        boxes = np.concatenate([(start + end) / 2, end - start], axis=1)
        parts = (boxes / [width, height, width, height]).tolist()
        rows = zip(found.labels.tolist(), parts, found.scores.tolist(), strict=True)
        lines = (" ".join(map(repr, (label, *box, score))) for label, box, score in rows)
        file = _unused(folder, name_of(picture), image_id)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    yield write


def name_of(picture: Picture) -> str:
    """What files about it are called: as its file, and the number of the frame behind it."""
    stem = Path(picture.file).stem
    return stem if picture.number is None else f"{stem}_{picture.number:06d}"


def _unused(folder: Path, name: str, image_id: int) -> Path:
    """A text file of the name, with the image id behind it where the name is taken."""
    while (file := folder / f"{name}.txt").exists():
        name = f"{name}_{image_id:05d}"
    return file


@contextmanager
def _listed(
    file: Any, rows: Callable[[int, Picture, PackedDetections], list[str]]
) -> Iterator[Write]:
    """A JSON list with so many rows for each picture."""
    separator = "\n"
    file.write("[")

    def write(image_id: int, picture: Picture, found: PackedDetections) -> None:
        nonlocal separator
        if written := rows(image_id, picture, found):
            file.write(separator + ",\n".join(written))
            separator = ",\n"

    yield write
    file.write("\n]\n")
