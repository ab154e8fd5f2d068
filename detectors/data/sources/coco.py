"""Reader of COCO's instances json."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detectors.data.sources.annotations import Findings, Objects, examples, packed
from detectors.data.sources.files import ImageFiles, check_present, existing, expanded

Rows = list[dict[str, Any]]


def read_coco(
    json_file: str | Path, images: str | Path, classes: Sequence[str] | None = None
) -> ImageFiles:
    """The images of a COCO json. Labels are the categories in order of their id, gaps closed.

    An annotation of an image that the file does not list is dropped and counted, as is the exact
    repeat of another annotation under the same id.

    Args:
        json_file: with the keys images, annotations, categories.
        images: folder of the image files.
        classes: names expected, in order of category id; None: those of the file.

    Raises:
        ValueError: the file contradicts itself or `classes`, or images are missing.
    """
    path, folder = existing(expanded(json_file), "COCO json"), existing(expanded(images), "folder")
    findings = Findings(str(path))
    content = _content(path)
    pictures = content["images"]
    image_ids = np.array(_column(pictures, "id", path, "image"), np.int64)
    _check_unique(image_ids.tolist(), path, "image")
    categories = _categories(content["categories"], classes, path)
    rows = _known(content["annotations"], set(image_ids.tolist()), path, findings)
    rows = _without_repeats(rows, path, findings)
    annotations = packed(
        image_ids,
        _sizes(pictures, path),
        _objects(rows, image_ids, list(categories), path),
        list(categories.values()),
        list(categories),
        lambda k: f"annotation {rows[k].get('id')}",
        findings,
    )
    paths = [folder / name for name in _column(pictures, "file_name", path, "image")]
    check_present(paths, str(path))
    return ImageFiles(annotations, paths)


def _content(path: Path) -> dict[str, Rows]:
    try:
        content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: not valid json ({error.msg})") from error
    for key in ("images", "annotations", "categories"):
        if not isinstance(content, dict) or key not in content:
            raise ValueError(f"{path} has no `{key}`; is it an instances file of COCO's format?")
    return content


def _column(rows: Rows, key: str, path: Path, kind: str) -> list[Any]:
    try:
        return [row[key] for row in rows]
    except KeyError:
        lacking = next(k for k, row in enumerate(rows) if key not in row)
        name = rows[lacking].get("id", f"number {lacking}")
        raise ValueError(f"{path}: {kind} {name} has no `{key}`") from None


def _check_unique(ids: Sequence[int], path: Path, kind: str) -> None:
    if repeated := [key for key, count in Counter(ids).items() if count > 1]:
        raise ValueError(
            f"{path}: {len(repeated)} {kind} ids stand for several {kind}s: {examples(repeated)}; "
            "every id must be unique"
        )


def _sizes(pictures: Rows, path: Path) -> np.ndarray:
    columns = [_column(pictures, key, path, "image") for key in ("height", "width")]
    return np.array(columns, np.int64).T.reshape(-1, 2)


def _categories(rows: Rows, classes: Sequence[str] | None, path: Path) -> dict[int, str]:
    ids = _column(rows, "id", path, "category")
    _check_unique(ids, path, "category")
    found = dict(sorted(zip(ids, _column(rows, "name", path, "category"), strict=True)))
    if classes is not None and list(found.values()) != list(classes):
        raise ValueError(
            f"{path} has the categories {list(found.values())}, expected {list(classes)}; correct "
            "`classes`, or set it to null to take those of the file"
        )
    return found


def _known(rows: Rows, image_ids: set[int], path: Path, findings: Findings) -> Rows:
    owners = _column(rows, "image_id", path, "annotation")
    known = [owner in image_ids for owner in owners]
    strays = [
        f"annotation {row.get('id')}" for row, yes in zip(rows, known, strict=True) if not yes
    ]
    findings.add("annotations of images that are not listed dropped", strays)
    return [row for row, yes in zip(rows, known, strict=True) if yes]


def _without_repeats(rows: Rows, path: Path, findings: Findings) -> Rows:
    first: dict[Any, dict[str, Any]] = {}
    kept: Rows = []
    repeats, clashes = [], []
    for row in rows:
        key = row.get("id")
        other = first.setdefault(key, row) if key is not None else row
        if other is row:
            kept.append(row)
        elif all(other.get(k) == row.get(k) for k in ("image_id", "category_id", "bbox")):
            repeats.append(f"annotation {key}")
        else:
            clashes.append(key)
    if clashes:
        raise ValueError(
            f"{path}: {len(clashes)} annotation ids stand for different objects: "
            f"{examples(clashes)}; renumber them"
        )
    findings.add("repeated annotations dropped", repeats)
    return kept


def _objects(rows: Rows, image_ids: np.ndarray, category_ids: list[int], path: Path) -> Objects:
    image_rows = {key: k for k, key in enumerate(image_ids.tolist())}
    labels = {key: k for k, key in enumerate(category_ids)}
    categories = _column(rows, "category_id", path, "annotation")
    for row, category in zip(rows, categories, strict=True):
        if category not in labels:
            raise ValueError(
                f"{path}: annotation {row.get('id')} has category {category}, which is not in "
                f"`categories` ({examples(category_ids)}); add it there or delete the annotation"
            )
    return Objects(
        image=np.array([image_rows[row["image_id"]] for row in rows], np.int64),
        boxes=_boxes(rows, path),
        labels=np.array([labels[category] for category in categories], np.int64),
        crowd=np.array([bool(row.get("iscrowd", 0)) for row in rows], bool),
        difficult=np.zeros(len(rows), bool),
        areas=np.array([row.get("area", np.nan) for row in rows], np.float64),
    )


def _boxes(rows: Rows, path: Path) -> np.ndarray:
    for row in rows:
        if len(row.get("bbox") or ()) != 4:
            raise ValueError(
                f"{path}: annotation {row.get('id')} has the bbox {row.get('bbox')}, expected "
                "four numbers: x, y, width, height"
            )
    boxes = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes
