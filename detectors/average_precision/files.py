"""Reads ground truth and detections as COCO has them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detectors.average_precision.matching import Found, Truth


def read_truth(file: str | Path) -> Truth:
    """The ground truth of a COCO file, `truth.json` of a run.

    Raises:
        ValueError: it is no such file.
    """
    told = _read(file)
    try:
        ids = np.unique(np.array([image["id"] for image in told["images"]], dtype=np.int64))
        rows, kinds = told["annotations"], told["categories"]
        categories = [int(kind["id"]) for kind in kinds]
        return Truth(
            image_ids=ids,
            classes=tuple(str(kind["name"]) for kind in kinds),
            category_ids=tuple(categories),
            images=_places(file, "image_id", rows, ids.tolist()),
            labels=_places(file, "category_id", rows, categories),
            boxes=np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4),
            areas=np.array([row["area"] for row in rows], dtype=np.float64),
            crowd=np.array([row.get("iscrowd", 0) for row in rows], dtype=bool),
            difficult=np.array([row.get("difficult", 0) for row in rows], dtype=bool),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(file, "COCO's ground truth", error) from error


def read_found(file: str | Path, truth: Truth) -> Found:
    """The detections of a COCO results file, `detections.json` of a run.

    Raises:
        ValueError: it is no such file, or names a picture or a class that `truth` lacks.
    """
    rows = _read(file)
    try:
        return Found(
            images=_places(file, "image_id", rows, truth.image_ids.tolist()),
            labels=_places(file, "category_id", rows, truth.category_ids),
            scores=np.array([row["score"] for row in rows], dtype=np.float64),
            boxes=np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(file, "COCO's results", error) from error


def _read(file: str | Path) -> Any:
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _unreadable(file, "JSON", error) from error


def _unreadable(file: str | Path, expected: str, error: Exception) -> ValueError:
    return ValueError(
        f"{file} is not {expected} ({type(error).__name__}: {error}): run `detectors evaluate` on "
        "the run again, which writes it anew"
    )


def _places(
    file: str | Path, key: str, rows: Sequence[Mapping[str, Any]], known: Sequence[int]
) -> np.ndarray:
    """[n] Where in `known` each row's `key` stands."""
    place = {number: index for index, number in enumerate(known)}
    try:
        return np.array([place[row[key]] for row in rows], dtype=np.int64)
    except KeyError as error:
        if error.args == (key,):
            raise
        raise ValueError(
            f"{file} has {key} {error}, which the ground truth does not know: keep the "
            "truth.json and detections.json of one run together"
        ) from error
