"""Reports an evaluation: files of results and truth in COCO's form, a table for the terminal."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from rich.columns import Columns
from rich.console import Group
from rich.table import Table

from detectors.files import whole_file
from detectors.metrics.packed import PackedDetections, xywh
from detectors.structures import Annotations

ROW = '{"image_id":%d,"category_id":%d,"bbox":[%r,%r,%r,%r],"score":%r}'
OBJECT = (
    '{"id":%d,"image_id":%d,"category_id":%d,"bbox":[%r,%r,%r,%r],'
    '"area":%r,"iscrowd":%d,"difficult":%d}'
)
ROWS_AT_ONCE = 10_000
KINDS = ("AP", "AR", "VOC")


def coco_results(found: PackedDetections, category_ids: Sequence[int]) -> list[dict]:
    """COCO's results list: image_id, official category_id, bbox as xywh, score.

    Args:
        category_ids: official id of each label.
    """
    return [
        {"image_id": row[0], "category_id": row[1], "bbox": list(row[2:6]), "score": row[6]}
        for row in result_rows(found, category_ids)
    ]


def write_coco_results(path: Path, found: PackedDetections, category_ids: Sequence[int]) -> None:
    """Write COCO's results file. Numbers are exact: evaluating the file gives the same scores."""
    with whole_file(path) as file:
        file.write("[")
        _write_rows(file, ROW, result_rows(found, category_ids))
        file.write("\n]\n")


def write_coco_truth(path: Path, truth: Annotations, names: Mapping[int, str | None]) -> None:
    """Write the ground truth as COCO's, from which with the results every score follows.

    An object says beside it whether it is `difficult`, which COCO's format does not know.

    Args:
        truth: the evaluated images.
        names: the file of each image id; None where it was generated.
    """
    ids, sizes = truth.image_ids.tolist(), truth.sizes.tolist()
    images = [
        {"id": i, "file_name": names[i], "width": width, "height": height}
        for i, (height, width) in zip(ids, sizes, strict=True)
    ]
    named = zip(truth.category_ids, truth.classes, strict=True)
    categories = [{"id": int(number), "name": name} for number, name in named]
    with whole_file(path) as file:
        file.write(f'{{"images": {json.dumps(images)},\n"categories": {json.dumps(categories)},\n')
        file.write('"annotations": [')
        _write_rows(file, OBJECT, _objects(truth))
        file.write("\n]}\n")


def _write_rows(file: IO[str], form: str, rows: Iterator[tuple]) -> None:
    separator = "\n"
    while chunk := list(itertools.islice(rows, ROWS_AT_ONCE)):
        file.write(separator + ",\n".join([form % row for row in chunk]))
        separator = ",\n"


def _objects(truth: Annotations) -> Iterator[tuple]:
    """id, image id, category id, x, y, width, height, area, crowd, difficult of each object."""
    images = truth.image_ids[truth.owners()]
    categories = np.asarray(truth.category_ids, dtype=np.int64)[truth.labels]
    numbers = np.arange(1, len(images) + 1)
    boxes = xywh(truth.boxes).T
    flags = truth.crowd.astype(int), truth.difficult.astype(int)
    columns = (numbers, images, categories, *boxes, truth.areas, *flags)
    return zip(*(column.tolist() for column in columns), strict=True)


def result_rows(found: PackedDetections, category_ids: Sequence[int]) -> Iterator[tuple]:
    """image id, category id, x, y, width, height, score of each detection."""
    boxes = xywh(found.boxes).T
    categories = np.asarray(category_ids, dtype=np.int64)[found.labels]
    columns = (found.image_ids, categories, *boxes, found.scores)
    return zip(*(column.tolist() for column in columns), strict=True)


def score_table(scores: Mapping[str, float]) -> Group:
    """A table, for `rich.print`, of what `DetectionMetric.compute` gives; "-" is undefined."""
    kinds = [[name for name in scores if name.startswith(kind)] for kind in KINDS]
    others = [name for name in scores if not name.startswith(KINDS)]
    rows = [_row(names, scores) for names in (*kinds, others) if names]
    classes = [f"{name[3:]} {_shown(scores[name])}" for name in scores if name.startswith("AP/")]
    return Group(*rows, "AP per class", Columns(classes, padding=(0, 3)))


def _row(names: list[str], scores: Mapping[str, float]) -> Table:
    names = [name for name in names if not name.startswith("AP/")]
    table = Table(*names)
    table.add_row(*(_shown(scores[name]) for name in names))
    return table


def _shown(score: float) -> str:
    return "-" if score < 0 else f"{score:.3f}"
