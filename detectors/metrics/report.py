"""Reports an evaluation: COCO's results file and a table for the terminal."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.columns import Columns
from rich.console import Group
from rich.table import Table

from detectors.files import whole_file
from detectors.metrics.packed import PackedDetections, xywh

ROW = '{"image_id":%d,"category_id":%d,"bbox":[%r,%r,%r,%r],"score":%r}'
ROWS_AT_ONCE = 10_000
KINDS = ("AP", "AR", "VOC")


def coco_results(found: PackedDetections, category_ids: Sequence[int]) -> list[dict]:
    """COCO's results list: image_id, official category_id, bbox as xywh, score.

    Args:
        category_ids: official id of each label.
    """
    return [
        {"image_id": row[0], "category_id": row[1], "bbox": list(row[2:6]), "score": row[6]}
        for row in _rows(found, category_ids)
    ]


def write_coco_results(path: Path, found: PackedDetections, category_ids: Sequence[int]) -> None:
    """Write COCO's results file. Numbers are exact: evaluating the file gives the same scores."""
    with whole_file(path) as file:
        file.write("[")
        rows = _rows(found, category_ids)
        separator = "\n"
        while chunk := list(itertools.islice(rows, ROWS_AT_ONCE)):
            file.write(separator + ",\n".join([ROW % row for row in chunk]))
            separator = ",\n"
        file.write("\n]\n")


def _rows(found: PackedDetections, category_ids: Sequence[int]) -> Iterator[tuple]:
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
