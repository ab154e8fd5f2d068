"""Reader of COCO's instances json."""

import json
import re
import reprlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from detectors.data.sources.annotations import (
    Findings,
    Objects,
    check_pixels,
    class_names,
    examples,
    packed,
)
from detectors.data.sources.images import ImageFiles, check_sizes
from detectors.data.sources.paths import existing, expanded, inside, present, with_slashes
from detectors.data.sources.text import content, not_json
from detectors.data.sources.values import flags, numbers, texts, whole_numbers
from detectors.files import PICTURES

Rows = list[dict[str, Any]]
KEYS = ("images", "annotations", "categories")
FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
START = 2**20  # bytes in which the first picture is looked for


def read_coco(
    json_file: str | Path,
    images: str | Path,
    classes: Sequence[str] | None = None,
    trust_paths: bool = False,
    head: bool = False,
) -> ImageFiles:
    """The images of a COCO json. Labels are the categories in order of their id, gaps closed.

    An annotation of an image that the file does not list is dropped and counted, as is the exact
    repeat of another annotation under the same id. Numbers may be written as text.

    Args:
        json_file: with the keys images, annotations, categories.
        images: folder of the image files.
        classes: names expected, in order of category id; None: those of the file.
        trust_paths: file names may lead out of the folder.
        head: the first category is no class, but the head of the others: `headed`.

    Raises:
        ValueError: the file contradicts itself or `classes`, images are missing, or the boxes are
            parts of the images; the message names the file and the id.
    """
    path, folder = existing(expanded(json_file), "COCO json"), existing(expanded(images), "folder")
    findings = Findings(str(path))
    pictures, rows, categories = _content(path)
    image_ids = _ids(pictures, "id", path, "image")
    _check_unique(image_ids.tolist(), path, "image")
    if head:
        findings.add(
            "category left out, as it is only the head of the others", [categories[0]["name"]]
        )
    names = _categories(categories[1:] if head else categories, classes, path)
    texts_of_ids = [row["id"] for row in pictures if isinstance(row["id"], str)]
    findings.add("image ids that are text, read as numbers", texts_of_ids)
    rows = _known(rows, set(image_ids.tolist()), path, findings)
    rows = _without_repeats(rows, path, findings)
    sizes = _sizes(pictures, path)
    files = with_slashes(_file_names(pictures, path, findings), folder)
    paths = inside(folder, files, str(path), trust_paths)
    _add_unlisted(folder, paths, findings)
    if len(there := present(paths, findings)) < len(paths):
        paths, image_ids, sizes = [paths[k] for k in there], image_ids[there], sizes[there]
        rows = _of_images(rows, set(image_ids.tolist()), path, findings)
    rows = _usable(rows, list(names), path, findings)
    objects = _objects(rows, image_ids, list(names), path, findings)
    annotations = packed(
        image_ids,
        sizes,
        objects,
        list(names.values()),
        list(names),
        lambda k: _name(rows, k, "annotation"),
        findings,
    )
    source = ImageFiles(annotations, paths)
    check_sizes(source, findings)
    return source


def first_file(path: Path) -> str | None:
    """The name of the first picture near the start of a file; None where there is none."""
    with path.open("rb") as opened:
        named = FILE_NAME.search(opened.read(START))
    try:
        return json.loads(named[1].decode(), strict=False) if named else None
    except ValueError:  # which the reader tells
        return None


def looks_like_coco(path: Path) -> bool:
    """Whether a json file has what COCO's have."""
    try:
        _content(path)
    except ValueError:
        return False
    return True


def _content(path: Path) -> tuple[Rows, Rows, Rows]:
    """The images, annotations and categories."""
    try:
        found = json.loads(content(path), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(not_json(path, error)) from error
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8, as json has to be; save it so") from error
    except RecursionError:
        raise ValueError(f"{path}: lists within lists without end, no file of COCO's") from None
    except ValueError as error:  # a key twice, or thousands of digits
        raise ValueError(f"{path}: {error}") from error
    images, annotations, categories = (_rows(found, key, path) for key in KEYS)
    return images, annotations, categories


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of json, of which no value is lost to another under the same key."""
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        named = f" of id {found['id']}" if "id" in found else ""
        raise ValueError(f"an object{named} has `{key}` more than once; delete all but one")
    return found


def _rows(found: Any, key: str, path: Path) -> Rows:
    if not isinstance(found, dict) or key not in found:
        raise ValueError(f"{path} has no `{key}`; is it an instances file of COCO's format?")
    rows = found[key]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        told = "null" if rows is None else f"{str(rows)[:60]}..."
        raise ValueError(f"{path}: `{key}` is {told}, expected a list of objects")
    return rows


def _name(rows: Rows, k: int, kind: str) -> str:
    """How messages call a row: by its id, or by its number if it has none."""
    return f"{kind} {rows[k].get('id', f'number {k}')}"


def _place(rows: Rows, key: str, path: Path, kind: str) -> Callable[[int], str]:
    """Names a value of the k-th row."""
    return lambda k: f"{path}: `{key}` of {_name(rows, k, kind)}"


def _ids(rows: Rows, key: str, path: Path, kind: str) -> np.ndarray:
    return whole_numbers(_column(rows, key, path, kind), _place(rows, key, path, kind))


def _column(rows: Rows, key: str, path: Path, kind: str) -> list[Any]:
    try:
        return [row[key] for row in rows]
    except KeyError:
        lacking = next(k for k, row in enumerate(rows) if key not in row)
        raise ValueError(f"{path}: {_name(rows, lacking, kind)} has no `{key}`") from None


def _check_unique(ids: Sequence[int], path: Path, kind: str) -> None:
    if repeated := [key for key, count in Counter(ids).items() if count > 1]:
        raise ValueError(
            f"{path}: {len(repeated)} {kind} ids stand for more than one: {examples(repeated)}; "
            "every id must be unique"
        )


def _sizes(pictures: Rows, path: Path) -> np.ndarray:
    columns = [_ids(pictures, key, path, "image") for key in ("height", "width")]
    return np.array(columns, np.int64).T.reshape(-1, 2)


def _file_names(pictures: Rows, path: Path, findings: Findings) -> list[str]:
    names = _column(pictures, "file_name", path, "image")
    names = texts(names, _place(pictures, "file_name", path, "image"))
    shared = [name for name, count in Counter(names).items() if count > 1]
    findings.add("files that are several images, each with its own objects", shared)
    return names


def _categories(rows: Rows, classes: Sequence[str] | None, path: Path) -> dict[int, str]:
    ids = _ids(rows, "id", path, "category").tolist()
    _check_unique(ids, path, "category")
    names = class_names(_column(rows, "name", path, "category"), str(path), ids)
    found = dict(sorted(zip(ids, names, strict=True)))
    if classes is not None and list(found.values()) != list(class_names(classes, "classes")):
        raise ValueError(
            f"{path} has the categories {list(found.values())}, expected {list(classes)}; correct "
            "`classes`, or set it to null to take those of the file"
        )
    return found


def _known(rows: Rows, image_ids: set[int], path: Path, findings: Findings) -> Rows:
    owners = _ids(rows, "image_id", path, "annotation").tolist()
    strays = [k for k, owner in enumerate(owners) if owner not in image_ids]
    findings.drop(
        "objects",
        "annotations of images that are not listed",
        [_name(rows, k, "annotation") for k in strays],
    )
    return [row for row, owner in zip(rows, owners, strict=True) if owner in image_ids]


def _of_images(rows: Rows, image_ids: set[int], path: Path, findings: Findings) -> Rows:
    """The rows of the images that are there, the others lost."""
    owners = _ids(rows, "image_id", path, "annotation").tolist()
    kept = [row for row, owner in zip(rows, owners, strict=True) if owner in image_ids]
    findings.lost["objects"] += len(rows) - len(kept)
    return kept


def headed(files: Sequence[Path]) -> bool:
    """Whether files of Roboflow's have the category that it writes before those of the classes.

    It is the supercategory of all others, has none itself, and no file has an object of it.
    """
    return all(_has_head(file, file.stat().st_mtime_ns) for file in files)


@cache
def _has_head(path: Path, changed: int) -> bool:
    _, rows, categories = _content(path)
    head = categories[0] if categories else {}
    name = head.get("name")
    others = categories[1:]
    above = name and others and all(other.get("supercategory") == name for other in others)
    own = {str(head.get("id"))}
    used = any(str(row.get("category_id")) in own for row in rows)
    return bool(above) and head.get("supercategory") == "none" and not used


def _add_unlisted(folder: Path, paths: Sequence[Path], findings: Findings) -> None:
    """Notes for one who listens what pictures lie beside them; they may be of another split."""
    if findings.listening():
        known = {*paths}
        beside = [
            path
            for place in sorted({p.parent for p in paths})
            if place.is_dir()
            for path in sorted(place.iterdir())
        ]
        unlisted = [p for p in beside if p not in known and p.suffix.lower() in PICTURES]
        findings.add("pictures in the same folders that the file does not list", unlisted)


def _without_repeats(rows: Rows, path: Path, findings: Findings) -> Rows:
    first: dict[Any, dict[str, Any]] = {}
    kept: Rows = []
    repeats, clashes = [], []
    for row in rows:
        key = _key(row.get("id"))
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
    findings.drop("objects", "repeated annotations", repeats)
    return kept


def _key(value: Any) -> str | None:
    """An id of an annotation, which may be any text: 3, 3.0 and "3" are one."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return None if value is None else str(value)


def _usable(rows: Rows, category_ids: list[int], path: Path, findings: Findings) -> Rows:
    """The rows of a known category with a box; the others are refused."""
    known = {*category_ids}
    categories = _ids(rows, "category_id", path, "annotation").tolist()
    wrong: dict[int, str] = {}
    for k, (row, category) in enumerate(zip(rows, categories, strict=True)):
        box = row.get("bbox")
        if category not in known:
            wrong[k] = (
                f"category {category}, which is not in `categories` ({examples(category_ids)}); "
                "add it there or delete the annotation"
            )
        elif not isinstance(box, list) or len(box) != 4:
            wrong[k] = f"the bbox {reprlib.repr(box)}, expected four numbers: x, y, width, height"
    if not wrong:
        return rows
    told = [f"{path}: {_name(rows, k, 'annotation')} has {has}" for k, has in wrong.items()]
    findings.refuse(told[0], told, kind="objects")
    return [row for k, row in enumerate(rows) if k not in wrong]


def _objects(
    rows: Rows, image_ids: np.ndarray, category_ids: list[int], path: Path, findings: Findings
) -> Objects:
    image_rows = {key: k for k, key in enumerate(image_ids.tolist())}
    labels = {key: k for k, key in enumerate(category_ids)}
    categories = _ids(rows, "category_id", path, "annotation").tolist()
    boxes = _boxes(rows, path)
    check_pixels(boxes, lambda k: _name(rows, k, "annotation"), findings)
    owners = _ids(rows, "image_id", path, "annotation").tolist()
    crowd = _optional(rows, "iscrowd", 0)
    return Objects(
        image=np.array([image_rows[owner] for owner in owners], np.int64),
        boxes=boxes,
        labels=np.array([labels[category] for category in categories], np.int64),
        crowd=flags(crowd, _place(rows, "iscrowd", path, "annotation")),
        difficult=np.zeros(len(rows), bool),
        areas=_areas(rows, path),
    )


def _areas(rows: Rows, path: Path) -> np.ndarray:
    """[n] float64; NaN where the file does not say."""
    place = _place(rows, "area", path, "annotation")
    areas = numbers(_optional(rows, "area", np.nan), place)
    for k in np.flatnonzero((areas < 0) | np.isinf(areas)).tolist():
        raise ValueError(  # such an object would be of no size that is measured
            f"{place(k)} is {areas[k]}, expected a number of pixels, or null for that of the box"
        )
    return areas


def _optional(rows: Rows, key: str, default: float) -> list[Any]:
    """A column in which a value may be absent or null."""
    return [default if row.get(key) is None else row[key] for row in rows]


def _boxes(rows: Rows, path: Path) -> np.ndarray:
    every = [number for row in rows for number in row["bbox"]]
    place = _place(rows, "bbox", path, "annotation")
    boxes = numbers(every, lambda k: f"{place(k // 4)}: a number").reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes
