"""A metric of one's own is one Python file and one YAML, outside of the package."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.metrics import COCO_AND_VOC, DetectionMetric, coco_scores, reported, score_table
from tests.metrics.metric_examples import annotations, batch, detections

METRIC = """
def counts(truth, found, least):
    return {"found": (found.scores >= least).sum() / len(truth.image_ids)}
"""
YAML = """\
# @package metrics.counts
_target_: counting.counts
_partial_: true
least: 0.5
"""
TRUTH = annotations({1: (100, 100), 2: (50, 80)}, [(1, 0, 0, 0, 10, 10)])


def updated(metric: DetectionMetric) -> DetectionMetric:
    rows = [[(0, 0.9, 0, 0, 10, 9), (1, 0.5, 21, 20, 40, 40)], [(0, 0.4, 0, 0, 10, 10)]]
    metric.update(detections(rows), batch([1, 2], [[1.0, 1.0, 0.0, 0.0]] * 2))
    return metric


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_commands_report_it(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "counting.py").write_text(METRIC)
    (tmp_path / "metric").mkdir()
    (tmp_path / "metric" / "counts.yaml").write_text(YAML)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = [f"hydra.searchpath=[file://{tmp_path}]", "metric=[coco,voc,counts]"]
    cfg = compose([*words, "metrics.counts.least=0.45"], command)
    scores = updated(DetectionMetric(TRUTH, instantiate(cfg, "metrics"))).compute()
    assert list(scores)[-1] == "found"
    assert scores.pop("found") == 1.0  # two detections in two images
    assert scores == updated(DetectionMetric(TRUTH)).compute()


def test_what_is_reported_without_a_word_is_cocos_and_vocs() -> None:
    made = instantiate(compose([]), "metrics")
    assert {name: rule.func for name, rule in made.items()} == dict(COCO_AND_VOC)
    assert (
        updated(DetectionMetric(TRUTH, made)).compute() == updated(DetectionMetric(TRUTH)).compute()
    )


def test_what_is_no_dict_of_numbers_is_refused_with_its_name() -> None:
    for wrong in ([0.5], {"found": "many"}, 0.5):
        with pytest.raises(ValueError, match=r"metrics\.mine gave .* expected a dict of numbers"):
            updated(DetectionMetric(TRUTH, {"mine": lambda *_, w=wrong: w})).compute()


def test_names_are_known_before_anything_is_found() -> None:
    assert reported(COCO_AND_VOC, TRUTH) == list(updated(DetectionMetric(TRUTH)).compute())


def test_the_table_shows_it_too() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(score_table({"AP": 0.5, "found": 0.25, "size/small": 0.125, "AP/dog": 0.5}))
    text = console.export_text()
    assert all(part in text for part in ("found", "0.250", "size/small", "0.125", "dog 0.500"))


def test_two_metrics_of_one_name_are_refused() -> None:
    twice = {"coco": coco_scores, "more": lambda truth, found: {"AP50": 0.0, "new": 0.0}}
    with pytest.raises(ValueError, match=r"metrics\.more reports AP50, as a metric before"):
        updated(DetectionMetric(TRUTH, twice)).compute()
