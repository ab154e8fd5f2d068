"""The pages of a run and of several, made from folders written by hand."""

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detectors import report
from detectors.report import beside
from detectors.report.page import NONE, page
from detectors.report.pictures import fitted
from detectors.report.reading import read_run
from detectors.report.stills import stills

SIDE = 64
HERE, FAR = [4, 4, 30, 30], [40, 40, 12, 12]
METRICS = {"val/AP": 0.25, "val/AP50": 1.0, "val/APs": -1, "val/AP/a <b>": 0.25, "val/VOC": 0.5}


def run(folder: Path, seed: int = 0, state: str = "done", file: bool = True) -> Path:
    """Two pictures of one class; one object found, one missed, and one detection of nothing."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(seed)
    names = [str(folder / f"{number}.png") if file else None for number in (3, 5)]
    for name in filter(None, names):
        Image.fromarray(generator.integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(name)
    objects = [{"image_id": i, "category_id": 7, "bbox": HERE, "area": 900} for i in (3, 5)]
    truth = {
        "images": [
            {"id": i, "file_name": name, "width": SIDE, "height": SIDE}
            for i, name in zip((3, 5), names, strict=True)
        ],
        "categories": [{"id": 7, "name": "a <b>"}],
        "annotations": [{**o, "id": n, "iscrowd": 0} for n, o in enumerate(objects, 1)],
    }
    found = [
        {"image_id": 3, "category_id": 7, "bbox": HERE, "score": 0.9},
        {"image_id": 5, "category_id": 7, "bbox": FAR, "score": 0.95},
    ]
    record = {
        "state": state,
        "reason": "the loss is not finite" if state != "done" else None,
        "model": "fcos",
        "tricks": ["ema"],
        "words": ["model=fcos", f"seed={seed}"],
        "epochs": 2,
        "images_seen": 1234,
        "train_seconds": 75.4,
        "select": "last",
        "data": {"classes": ["a <b>"], "images": 2},
        "latency": {"median_ms": 12.34, "iqr_ms": 0.5},
    }
    contents: dict[str, Any] = {
        "truth.json": truth,
        "detections.json": found,
        "metrics.json": METRICS,
        "run.json": record,
        "environment.json": {"python": "3.11", "packages": {"torch": "2.11"}},
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "config.yaml").write_text(f"seed: {seed}\nrun_dir: {folder}\nmodel: {{depth: 3}}\n")
    (folder / "overrides.txt").write_text(f"model=fcos\nseed={seed}\n")
    rows = [{"epoch": e, "step": 4 * e + 4, "train/loss": 1, "val/AP": 0.2} for e in (0, 1)]
    with (folder / "metrics.csv").open("w", newline="") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def shown(folder: Path, **options: Any) -> str:
    told = read_run(folder)
    read = report.pictures(told, options.get("source", _no_source))
    return page(told, read, options.get("origins", dict))


def _no_source() -> Any:
    raise ValueError("there is no such folder")


class Words(HTMLParser):
    """Text of a page without marks, and whether each mark that is opened is closed."""

    EMPTY = ("meta", "br", "img", "rect", "image", "use", "path")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.open = "", list[str]()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["style"], ["script"]):
            self.text += data + " "


def told(text: str) -> str:
    return " ".join(Words(text).text.split())


def test_a_page_needs_no_other_file(tmp_path: Path) -> None:
    text = shown(run(tmp_path / "a"))
    links = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert links
    assert all(link.startswith(("data:image/jpeg", "#picture-", "#")) for link in links)
    assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text).replace("http://www.w3.org", "")
    assert len(text) < 5_000_000


def test_numbers_and_names_are_those_of_the_folder(tmp_path: Path) -> None:
    words = told(shown(run(tmp_path / "a")))
    for expected in ("fcos + ema", "Trained for 2 epochs on 1 class;", "1,234", "1 min 15 s"):
        assert expected in words
    assert "a <b>" in words  # escaped on the page
    assert "12.3 ms, quartiles 0.5 ms apart" in words
    assert "detectors train model=fcos seed=0" in words
    assert f"AP AP50 APs 25.0 100.0 {NONE}" in words
    assert "nothing is there" in words


def test_pictures_with_mistakes_are_shown_with_what_is_wrong(tmp_path: Path) -> None:
    text = shown(run(tmp_path / "a"))
    assert text.count('<image id="picture-') == 1  # the flawless picture is not shown
    assert "5.png · 1 missed, 1 false" in told(text)
    assert "a &lt;b&gt;, missed" in text
    assert "a &lt;b&gt; 0.95, wrong" in text


def test_pictures_without_files_come_from_the_source(tmp_path: Path) -> None:
    class Generated:
        class annotations:
            image_ids = np.array([3, 5])

        def image(self, index: int) -> np.ndarray:
            return np.full((SIDE, SIDE, 3), 10 * index, dtype=np.uint8)

    folder = run(tmp_path / "a", file=False)
    assert "boxes alone" not in shown(folder, source=Generated)
    assert "the picture cannot be read here" in shown(folder)


def test_a_lost_picture_costs_the_report_nothing_else(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    (folder / "5.png").unlink()
    assert "the picture cannot be read here" in shown(folder)


def test_a_run_that_failed_says_why(tmp_path: Path) -> None:
    folder = run(tmp_path / "a", state="diverged")
    for name in ("truth.json", "metrics.json"):
        (folder / name).unlink()
    words = told(shown(folder))
    assert "This run has diverged: the loss is not finite" in words
    assert "Classes" not in words
    assert "training loss" in shown(folder)


def test_names_with_signs_of_formulas_are_drawn_as_they_are(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    truth = folder / "truth.json"
    truth.write_text(truth.read_text().replace("a <b>", "_cost $x^{ of $y"))
    assert "_cost $x^{ of $y" in shown(folder)
    evaluated = read_run(folder).evaluated
    assert evaluated is not None
    assert set(stills(evaluated)) == {"measured/precision_recall", "measured/confusion"}


def test_a_debug_run_is_said_to_be_no_result(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**record, "debug": "overfit"}))
    assert "debug=overfit): its numbers are no result" in told(shown(folder))


def test_values_tell_where_they_come_from_or_why_not(tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    assert "the word seed=0" in shown(folder, origins=lambda: {"seed": "the word seed=0"})

    def lost() -> dict[str, str]:
        raise ValueError("neck=mine is gone")

    assert "cannot be told: neck=mine is gone" in shown(folder, origins=lost)


def test_several_runs_stand_side_by_side_without_a_winner(tmp_path: Path) -> None:
    runs = [read_run(run(tmp_path / name, seed)) for seed, name in enumerate("ab")]
    text = beside.page(runs)
    words = told(text)
    assert "fcos + ema (a) fcos + ema (b)" in words
    assert "seed 0 1" in words  # what differs in the configs, folders left out
    assert "run_dir" not in words
    assert not re.search(r"\b(better|worse|best|wins?)\b", words)
    assert "measured on different pictures" not in words


def test_runs_of_one_name_in_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    runs = [read_run(run(tmp_path / name / "run")) for name in "ab"]
    assert beside.names_of(runs) == ["fcos + ema (run) 1", "fcos + ema (run) 2"]


def test_runs_of_other_pictures_are_said_to_be(tmp_path: Path) -> None:
    one, two = (run(tmp_path / name) for name in "ab")
    truth = json.loads((two / "truth.json").read_text())
    truth["images"].append({"id": 9, "file_name": None, "width": 8, "height": 8})
    (two / "truth.json").write_text(json.dumps(truth))
    assert "measured on different pictures" in beside.page([read_run(one), read_run(two)])


@pytest.mark.parametrize(("name", "text"), [("run.json", "{"), ("config.yaml", "a: [")])
def test_a_broken_file_is_named(name: str, text: str, tmp_path: Path) -> None:
    folder = run(tmp_path / "a")
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=re.escape(str(folder / name))):
        read_run(folder)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder of a run"):
        read_run(tmp_path)


def test_a_large_picture_is_made_to_fit() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (900, 1200, 3), np.uint8)
    content, scale = fitted(Image.fromarray(noise), room=100_000)
    assert len(content) <= 75_000
    assert scale < 1
    _, scale = fitted(Image.new("RGB", (1200, 900)), room=100_000)
    assert scale == 1
