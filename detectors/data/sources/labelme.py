"""Reader of LabelMe's json files, one beside each picture."""

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detectors.data.sources.annotations import (
    Findings,
    Objects,
    check_pixels,
    examples,
    packed,
)
from detectors.data.sources.images import ImageFiles, check_sizes, upright_size
from detectors.data.sources.text import not_json, text
from detectors.data.sources.values import numbers, texts, whole_numbers

BOX = "rectangle"


class _Shape(NamedTuple):
    where: str
    kind: str  # rectangle, polygon, ...
    label: str
    points: Any


class _Object(NamedTuple):
    where: str
    image: int
    label: int
    box: list[float]


def annotated(
    files: Sequence[Path], paths: Sequence[Path], names: Sequence[str], findings: Findings
) -> ImageFiles:
    """Pictures that have a json file each, with ids 0, 1, ... in their order.

    The boxes are the rectangles, by any two corners that lie opposite each other; shapes of other
    kinds are left out and counted.

    Args:
        names: of all classes.

    Raises:
        ValueError: a file is not LabelMe's, a label is not among the names, or a rectangle has not
            two points; the message names the file and the shape.
    """
    rows, sizes, objects, others = list[int](), [], list[_Object](), list[str]()
    elsewhere = list[str]()
    for row, (file, path) in enumerate(zip(files, paths, strict=True)):
        with findings.sparing("images"):
            found = _content(file)
            sizes.append(_size(found, file) or upright_size(path))
            rows.append(row)
            named = str(found.get("imagePath") or "").replace("\\", "/")
            if named and Path(named).stem not in (path.stem, file.stem):
                elsewhere.append(f"{file}: {named}")
            for place, told in _places(found, file):
                with findings.sparing("objects"):
                    shape = _shape(told, place)
                    if shape.kind == BOX:
                        label, box = _label(shape, names), _box(shape)
                        objects.append(_Object(place, len(rows) - 1, label, box))
                    else:
                        others.append(f"{place}, a {shape.kind}")
    findings.add("files whose `imagePath` names another picture", elsewhere)
    findings.drop("objects", "shapes that are no rectangles", others)
    if others and not objects:
        raise ValueError(
            f"{findings.origin}: none of the {len(others)} shapes is a rectangle: "
            f"{examples(others)}; draw boxes, or convert these shapes to rectangles"
        )
    boxes = np.array([each.box for each in objects], np.float64).reshape(-1, 4)
    images = np.array([each.image for each in objects], np.int64)
    labels = np.array([each.label for each in objects], np.int64)
    check_pixels(boxes, lambda k: objects[k].where, findings)
    annotations = packed(
        np.array(rows, np.int64),
        np.array(sizes, np.int64).reshape(-1, 2),
        Objects.ordinary(images, boxes, labels),
        names,
        range(len(names)),
        lambda k: objects[k].where,
        findings,
    )
    source = ImageFiles(annotations, [paths[row] for row in rows])
    check_sizes(source, findings)
    return source


def names_in(files: Iterable[Path]) -> list[str]:
    """The labels of all rectangles, in order of the alphabet.

    Raises:
        ValueError: a file is not LabelMe's.
    """
    return sorted({label for file in files for label in _labels(file)})


def _labels(file: Path) -> list[str]:
    def read() -> list[str]:
        shapes = [_shape(told, place) for place, told in _places(_content(file), file)]
        return [shape.label for shape in shapes if shape.kind == BOX]

    return Findings.or_nothing(read)


def check_written(file: Path) -> None:
    """Refuses what does not look as LabelMe writes it.

    Raises:
        ValueError: says why.
    """
    if "imagePath" not in _content(file):
        raise ValueError(f"{file} has no `imagePath`, expected a file as LabelMe writes them")


def _content(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(text(file))
    except json.JSONDecodeError as error:
        raise ValueError(not_json(file, error)) from error
    except RecursionError:
        raise ValueError(f"{file}: lists within lists without end, not LabelMe's") from None
    if not isinstance(found, dict) or not isinstance(found.get("shapes"), list):
        raise ValueError(f"{file} has no list `shapes`, expected a file as LabelMe writes them")
    return found


def _size(found: dict[str, Any], file: Path) -> tuple[int, int] | None:
    """(height, width), or None where the file does not say."""
    keys = ("imageHeight", "imageWidth")
    given = [found.get(key) or 0 for key in keys]
    height, width = whole_numbers(given, lambda k: f"{file}: `{keys[k]}`").tolist()
    return (height, width) if min(height, width) > 0 else None


def _places(found: dict[str, Any], file: Path) -> Iterator[tuple[str, Any]]:
    """Every shape as it is written, after how messages call it."""
    return ((f"{file} shape {k}", told) for k, told in enumerate(found["shapes"], start=1))


def _shape(shape: Any, where: str) -> _Shape:
    if not isinstance(shape, dict):
        raise ValueError(f"{where} is {str(shape)[:60]}, expected an object with `points`")
    label = shape.get("label")
    if label is None or not str(label).strip():
        raise ValueError(f"{where} has no `label`: write the name of its class, or delete it")
    (label,) = texts([label], lambda _: f"{where}: `label`")
    kind = str(shape.get("shape_type") or "polygon")  # as old files mean it
    return _Shape(where, kind, label.strip(), shape.get("points"))


def _label(shape: _Shape, names: Sequence[str]) -> int:
    if shape.label not in names:
        raise ValueError(
            f"{shape.where} is a `{shape.label}`, expected one of {list(names)}; correct the file "
            "or `classes`"
        )
    return list(names).index(shape.label)


def _box(shape: _Shape) -> list[float]:
    """Edges of a rectangle between two corners, or round four."""
    points = shape.points if isinstance(shape.points, list) else []
    if len(points) not in (2, 4) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise ValueError(
            f"{shape.where}: the points are {str(shape.points)[:80]}, expected two corners [x, y]"
        )
    corners = numbers(
        [value for point in points for value in point], lambda _: f"{shape.where}: a coordinate"
    )
    low, high = corners.reshape(-1, 2).min(axis=0), corners.reshape(-1, 2).max(axis=0)
    return [*low.tolist(), *high.tolist()]
