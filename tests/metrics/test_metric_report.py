"""COCO's results file and the table."""

import io
import json
from pathlib import Path

import numpy as np
from rich.console import Console

from detectors.metrics import coco_results, score_table, write_coco_results, write_coco_truth
from tests.metrics.metric_examples import annotations, coco_index, packed

ROWS = [(12, 1, 0.1, 1 / 3, 2, 10, 7), (5, 0, 1e-7, 0, 0, 1e-9, 5)]


def test_results_name_official_categories_and_sides() -> None:
    first, second = coco_results(packed(ROWS), [18, 90])
    assert first == {
        "image_id": 12,
        "category_id": 90,
        "bbox": [1 / 3, 2.0, 10 - 1 / 3, 5.0],
        "score": 0.1,
    }
    assert second["category_id"] == 18


def test_the_file_holds_the_list_exactly(tmp_path: Path) -> None:
    for rows in (ROWS, [], ROWS * 6_000):
        write_coco_results(tmp_path / "results.json", packed(rows), [18, 90])
        written = json.loads((tmp_path / "results.json").read_text())
        assert written == coco_results(packed(rows), [18, 90])


def test_the_truth_is_written_exactly_with_what_is_ignored(tmp_path: Path) -> None:
    objects = [(4, 0, 1 / 3, 2, 10.1, 7), (4, 2, 0, 0, 1e-9, 5, "crowd"), (9, 1, 3, 3, 9, 9)]
    truth = annotations({4: (60, 80), 9: (50, 40)}, [*objects, (9, 1, 1, 1, 8, 8, "difficult")])
    truth = truth._replace(areas=np.array([1 / 7, 2, 3, 4]))
    write_coco_truth(tmp_path / "truth.json", truth, {4: 'a "b".png', 9: None})
    written = json.loads((tmp_path / "truth.json").read_text())
    expected = coco_index(truth).dataset
    assert [row.pop("difficult") for row in written["annotations"]] == [0, 0, 0, 1]
    assert [row.pop("file_name") for row in written["images"]] == ['a "b".png', None]
    assert written == {key: expected[key] for key in written}


def test_the_table_shows_every_number_and_what_is_undefined() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    scores = {"AP": 0.1234, "AR1": 0.5, "VOC_AP50_area": -1.0, "AP/dog": 0.25, "AP/cat": -1.0}
    console.print(score_table(scores))
    text = console.export_text()
    assert text.index("VOC_AP50_area") < text.index("AP per class")
    for part in ("0.123", "0.500", "dog 0.250", "cat -"):
        assert part in text
