"""Tables and page show what the results say, and nothing that overclaims."""

import csv
import json
import re
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detectors.studies import report, tables
from detectors.studies.compare import compare
from detectors.studies.report import figures, thumbnails
from detectors.visualization.svg import OF_PAGE
from tests.studies.simulated import write_run

FORBIDDEN = ("significant", "no difference", "outperform")
VOID = ("meta", "img", "br", "path", "use", "rect", "link", "input", "hr")


@pytest.fixture(scope="module")
def results(written: Path) -> dict[str, Any]:
    return json.loads((written / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(written: Path) -> str:
    return (written / "report.html").read_text(encoding="utf-8")


def test_no_text_overclaims_or_is_bold(written: Path) -> None:
    for name in (*tables.FILES, "report.html", "results.json"):
        text = (written / name).read_text(encoding="utf-8").lower()
        assert not [word for word in FORBIDDEN if word in text], name
        assert "**" not in text or name == "report.html"
        assert r"\textbf" not in text


def test_no_mean_stands_without_its_runs(written: Path) -> None:
    lines = (written / "table.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line[:1] == "|"]
    head, _, *body = rows[:6]
    assert rows[6] == ["AP50 lost to", "Cls", "Loc", "Both", "Dupe", "Bkg", "Miss"]
    assert re.fullmatch(r"[+-]?\d+\.\d \(-?\d+\.\d to -?\d+\.\d\)", rows[9][1])
    assert head[:3] == ["variant", "n", "AP"]
    assert [row[:2] for row in body] == [
        *(["plain", "3"], ["trick=[ciou]", "2"]),
        *(["trick=[mosaic]", "3"], ["neck=pan", "3"]),
    ]
    assert all(re.fullmatch(r"\d+\.\d \(-?\d+\.\d to \d+\.\d\)", row[2]) for row in body)
    assert body[3][head.index("difference in AP")].startswith("[")


def test_a_single_run_has_no_interval() -> None:
    one = {"n": 1, "mean": 12.34, "sd": None, "these": None, "new": None}
    assert tables.level_text(one, "new") == "12.3"
    assert tables.level_text({**one, "n": 0, "mean": None}, "new") == "-"


def test_the_table_of_numbers_has_them_all(written: Path, results: dict[str, Any]) -> None:
    with (written / "table.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {(r["variant"], r["metric"]): r for r in rows}
    for variant in results["variants"]:
        for metric, level in variant["metrics"].items():
            assert float(found[variant["name"], metric]["mean"]) == level["mean"]
    mosaic = next(r for r in results["comparisons"] if r["variant"] == "trick=[mosaic]")
    assert float(found["trick=[mosaic]", "AP"]["difference_new_low"]) == mosaic["new"]["low"]
    assert found["trick=[mosaic]", "AP"]["verdict"] == mosaic["verdict"]["words"]


def test_latex_shows_names_as_they_are() -> None:
    assert tables.escaped(r"a_b & 5% \x{y}") == r"a\_b \& 5\% \textbackslash{}x\{y\}"


class Nesting(HTMLParser):
    """Fails where an element is closed that is not the open one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_no_network(page: str) -> None:
    parser = Nesting()
    parser.feed(page)
    assert parser.open == []
    links = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]{1,40})', page)
    assert links
    assert all(link.startswith(("data:", "#")) for link in links)
    assert "<script" not in page


def test_the_page_says_every_verdict_and_failure(page: str, results: dict[str, Any]) -> None:
    words = [r["verdict"]["words"] for r in results["comparisons"] if "verdict" in r]
    for line in (*words, "the loss is not finite in step 12", "Do tricks help?"):
        assert line in page
    assert page.count("<svg") == 2 + 2 + 3 + 1  # forest, curves; costs; classes; errors
    assert not [stands for stands in OF_PAGE if stands in page]


def test_generated_pictures_are_said_to_be_boxes_only(
    page: str, written: Path, results: dict[str, Any]
) -> None:
    assert "generated, so there is no file: boxes only" in page
    shown = thumbnails.shown(results, written)
    assert 1 <= len(shown) <= 12
    assert shown[0].sides[0].title == "ground truth"
    assert shown[0].sides[1].title == "plain"


def test_pictures_are_drawn_from_their_files(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    Image.new("RGB", (600, 400), (200, 30, 30)).save(file)
    image = {"width": 600, "height": 400, "file_name": str(file)}
    ground, note = thumbnails._ground(image)
    assert (ground.size, ground.getpixel((9, 9)), note) == ((300, 200), (200, 30, 30), "")
    file.unlink()
    assert thumbnails._ground(image)[1] == "its file is not on this machine: boxes only"


def variant(name: str, cost: float) -> dict[str, Any]:
    return {"name": name, "costs": {"flops": {"mean": cost}}}


def test_variants_that_are_not_resolved_are_ties_in_the_pareto_set() -> None:
    kinds = {"cheap": "worse", "tie": "not_resolved", "good": "better", "dear": "worse"}
    costs = {"plain": 2, "cheap": 1, "tie": 3, "good": 3, "dear": 4, "other": 1}
    told = {
        "study": {"baseline": "plain"},
        "contract": {"broken": {"other": ["epochs 6 and 36"]}},
        "variants": [variant(name, cost) for name, cost in costs.items()],
        "comparisons": [{"variant": n, "verdict": {"kind": k}} for n, k in kinds.items()],
    }
    assert figures.pareto(told, "flops") == ["plain", "cheap", "tie", "good"]


@pytest.mark.slow
def test_twelve_runs_are_reported_in_a_minute(tmp_path: Path) -> None:
    """200 pictures each; the page stays below 3 MB."""
    jobs = [(words, seed) for words in ((), ("a=1",), ("b=1",)) for seed in (1, 2, 3, 4)]
    for job, (words, seed) in enumerate(jobs):
        write_run(tmp_path / "sweep" / str(job), list(words), seed, 0.5 + job / 50, images=200)
    begun = time.process_time()
    page = report.write(compare([tmp_path / "sweep"], tmp_path / "study"), tmp_path / "study")
    assert time.process_time() - begun < 60
    assert page.stat().st_size < 3e6
