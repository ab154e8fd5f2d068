"""The page about tricks and families is the one that the grid gives, and the grid is true."""

from pathlib import Path

import pytest

from detectors.commands import tricks
from detectors.commands.tricks import Row, read_row, write_row
from tests.tricks.bag import FAMILIES, GRID

PAGE = Path(__file__).parents[2] / "docs" / "tricks.md"
TRIED = sorted(path.stem for path in GRID.glob("*.yaml"))


def test_the_page_is_what_the_grid_gives() -> None:
    """A trick that was tried later may be missing from it, so that two may be added at a time."""
    page = PAGE.read_text(encoding="utf-8")
    shown = {trick: read_row(GRID, trick) for trick in TRIED if f"\n| `{trick}`" in page}
    assert page == tricks.render(shown), "run `detectors tricks tricks=[]`"


def test_the_grid_knows_no_trick_that_is_gone() -> None:
    assert set(TRIED) <= set(tricks.names())


def test_a_cell_says_why_it_is_refused() -> None:
    assert tricks.refusal("multiscale", "yolov3") == ""
    reason = tricks.refusal("multiscale", "yolov1")
    assert "the head is made for images of (320, 320)" in reason


@pytest.mark.parametrize(
    ("trick", "family", "reason"),
    [
        ("leaky", "yolov3", "changes nothing here"),
        ("diou_nms", "centernet", "DIoU needs 'threshold'"),
        ("diou_nms", "paa", "while voting goes around another suppressor"),
        ("miwrc", "fcos", "timm's resnet18 does not know 'join'"),
        ("cmbn", "fcos", "trainer.accumulate_grad_batches=1 makes every batch one mini-batch"),
        ("sync_bn", "fcos", "this run has one"),
    ],
)
def test_a_refusal_says_what_is_missing(trick: str, family: str, reason: str) -> None:
    assert reason in tricks.refusal(trick, family)


def test_a_model_that_has_answered_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(tricks, "ASKED", set())
    monkeypatch.setattr(tricks, "_ask", lambda module: asked.append(1))
    for trick, times in {
        "mixup": 1,
        "cosine": 1,
        "mish": 2,
        "flip_tta": 3,
        "multiscale": 3,
    }.items():
        assert tricks.refusal(trick, "yolov3") == ""
        assert len(asked) == times, trick


def test_sizes_at_which_a_family_cannot_be_asked_are_refused() -> None:
    reason = tricks.refusal("multiscale_tta", "yolov1")
    assert "the head is made for images of (320, 320)" in reason
    assert "multiscale_tta" in reason


def test_the_page_gathers_families_with_one_reason() -> None:
    rows = {
        "a": Row(["c=1"], [], {"x": "", "y": "too wide", "z": "too wide"}),
        "b": Row([], [], {"x": ""}),
    }
    page = tricks.render(rows)
    assert "| `a`, `c=1` | yes | no | no |" in page
    assert "| `b` | yes | not tried | not tried |" in page
    assert "- `a`, y, z: too wide" in page


def test_a_row_survives_its_file(tmp_path: Path) -> None:
    row = Row(["trainer.devices=2"], [], {"fcos": "", "yolov3": "no: 'it' is [too] wide"})
    write_row(tmp_path, "a", row)
    assert read_row(tmp_path, "a") == row
    assert read_row(tmp_path, "b") == Row([], [], {})


@pytest.mark.slow
@pytest.mark.parametrize("trick", TRIED)
def test_every_cell_is_as_the_grid_has_it(trick: str) -> None:
    row = read_row(GRID, trick)
    found = {family: tricks.refusal(trick, family, row.beside) for family in FAMILIES}
    assert found == row.families, f"run `detectors tricks tricks=[{trick}]`"
