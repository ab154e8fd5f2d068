"""Reader of YOLO text files: a line `class x y width height` per object, in parts of the image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml

from detectors.data.sources.annotations import Findings, Objects, packed
from detectors.data.sources.files import (
    SUFFIXES,
    ImageFiles,
    check_present,
    existing,
    expanded,
    upright_size,
)


class _Line(NamedTuple):
    where: str
    image: int
    label: int
    box: tuple[float, float, float, float]  # centre x, centre y, width, height in [0, 1]


def read_yolo(root: str | Path, split: str, classes: Sequence[str] | None = None) -> ImageFiles:
    """The images of a split, with ids 0, 1, ... in order of their path.

    The label file of `.../images/a.jpg` is `.../labels/a.txt`; without a folder `images` on its
    path it lies beside the image. An image without a label file has no objects.

    Args:
        root: a yaml file with `names` and one entry a split (a folder, or a text file that lists
            images; relative to its `path`), or a folder that holds images/SPLIT or SPLIT/images.
        split: train, val or test.
        classes: the name of every class number; None: `names` of the yaml file.

    Raises:
        ValueError: a line is not five numbers, a class is unknown, or files are missing.
    """
    place = existing(expanded(root), "YOLO data set")
    findings = Findings(f"{place} {split}")
    description = _description(place)
    names = _names(description, classes, place)
    paths = _image_paths(description, place, split)
    check_present(paths, findings.origin)
    sizes = np.array([upright_size(path) for path in paths], np.int64).reshape(-1, 2)
    lines = _unrepeated(list(_lines(paths, len(names), findings)), findings)
    annotations = packed(
        np.arange(len(paths)),
        sizes,
        _packable(lines, sizes),
        names,
        range(len(names)),
        lambda k: lines[k].where,
        findings,
    )
    return ImageFiles(annotations, paths)


def _description(place: Path) -> dict[str, Any]:
    """What the yaml file says; nothing for a folder."""
    if place.is_dir():
        return {}
    content = yaml.safe_load(place.read_text())
    if not isinstance(content, dict):
        raise ValueError(f"{place} is no yaml file with `names`, `train` and `val`")
    return content


def _names(description: dict[str, Any], classes: Sequence[str] | None, place: Path) -> list[str]:
    names = description.get("names")
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise ValueError(f"{place}: `names` must number the classes 0, 1, ..., found {names}")
        names = [names[key] for key in range(len(names))]
    if classes is None and names is None:
        raise ValueError(f"{place} does not name the classes; set `classes` to their names")
    if classes is not None and names is not None and list(classes) != names:
        raise ValueError(
            f"{place} has the classes {names}, expected {list(classes)}; correct `classes`, or set "
            "it to null to take those of the file"
        )
    return list(classes or names or ())


def _image_paths(description: dict[str, Any], place: Path, split: str) -> list[Path]:
    found = _split_place(description, place, split)
    if found.is_file():
        base = found.parent
        return [base / line.strip() for line in found.read_text().splitlines() if line.strip()]
    paths = sorted(path for path in found.rglob("*") if path.suffix.lower() in SUFFIXES)
    _check_stems(paths)
    return paths


def _split_place(description: dict[str, Any], place: Path, split: str) -> Path:
    if description:
        if split not in description:
            raise ValueError(f"{place} has no `{split}`; it has {', '.join(map(str, description))}")
        base = place.parent / expanded(description.get("path", "."))
        return existing(base / expanded(description[split]), f"`{split}` of {place}:")
    choices = [place / "images" / split, place / split / "images"]
    for choice in choices:
        if choice.is_dir():
            return choice
    raise ValueError(f"neither {choices[0]} nor {choices[1]} exists; correct `root` or `split`")


def _check_stems(paths: Sequence[Path]) -> None:
    first: dict[Path, Path] = {}
    for path in paths:
        other = first.setdefault(path.with_suffix(""), path)
        if other is not path:
            raise ValueError(f"{other} and {path} share one label file; rename or delete one")


def _label_path(image: Path) -> Path:
    parts = list(image.parts)
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    return Path(*parts).with_suffix(".txt")


def _lines(paths: Sequence[Path], num_classes: int, findings: Findings) -> Iterator[_Line]:
    unlabelled = []
    for image, path in enumerate(paths):
        label_path = _label_path(path)
        if not label_path.exists():
            unlabelled.append(path)
            continue
        for number, text in enumerate(label_path.read_text().splitlines(), start=1):
            if words := text.split():
                yield _line(words, f"{label_path}:{number}", image, num_classes)
    findings.add("images without a label file, taken as images without objects", unlabelled)


def _line(words: list[str], where: str, image: int, num_classes: int) -> _Line:
    if len(words) != 5:
        raise ValueError(
            f"{where}: {len(words)} columns, expected 5 (class, centre x, centre y, width, "
            "height); polygons and confidences are not read, convert them to boxes first"
        )
    try:
        label = int(words[0])
        x, y, width, height = (float(word) for word in words[1:])
    except ValueError:
        raise ValueError(
            f"{where}: `{' '.join(words)}` is not a class number and four numbers"
        ) from None
    if not 0 <= label < num_classes:
        raise ValueError(
            f"{where}: class {label}, but there are {num_classes} classes, numbered from 0; "
            "correct the line or `classes`"
        )
    if max(abs(x), abs(y), abs(width), abs(height)) > 2:
        raise ValueError(
            f"{where}: `{' '.join(words)}` reaches far out of the image; the four numbers are "
            "parts of its width and height, not pixels"
        )
    return _Line(where, image, label, (x, y, width, height))


def _unrepeated(lines: Sequence[_Line], findings: Findings) -> list[_Line]:
    first: dict[tuple[object, ...], _Line] = {}
    for line in lines:
        first.setdefault(line[1:], line)
    kept = list(first.values())
    findings.add(
        "repeated lines dropped", [line.where for line in lines if first[line[1:]] is not line]
    )
    return kept


def _packable(lines: Sequence[_Line], sizes: np.ndarray) -> Objects:
    count = len(lines)
    image = np.array([line.image for line in lines], np.int64)
    numbers = np.array([line.box for line in lines], np.float64).reshape(-1, 2, 2)
    numbers *= sizes[image][:, None, ::-1]  # width, height
    centre, size = numbers[:, 0], numbers[:, 1]
    return Objects(
        image=image,
        boxes=np.concatenate([centre - size / 2, centre + size / 2], axis=1),
        labels=np.array([line.label for line in lines], np.int64),
        crowd=np.zeros(count, bool),
        difficult=np.zeros(count, bool),
        areas=np.full(count, np.nan),
    )
