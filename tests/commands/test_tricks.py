"""The page about tricks and families is the one that the configs give."""

import json
from pathlib import Path

import pytest

from detectors.commands import tricks
from detectors.config.compose import compose
from detectors.config.overrides import SERVED
from detectors.config.paths import CONF

PAGE = Path(__file__).parents[2] / "docs" / "tricks.md"
FAMILIES = list(compose([], "tricks").families)


def test_the_page_is_not_stale() -> None:
    page = PAGE.read_text()
    assert tricks.digest() in page, "the configs have changed: run `detectors tricks`"
    names = sorted(path.stem for path in (CONF / "trick").glob("*.yaml"))
    assert sorted(json.loads(SERVED.read_text())) == names
    assert all(f"\n| `{name}`" in page for name in names)


def test_a_cell_says_why_it_is_refused() -> None:
    assert tricks.refusal("multiscale", "yolov3") == ""
    reason = tricks.refusal("multiscale", "yolov1")
    assert "YoloV1Tower is made for images of (320, 320)" in reason


@pytest.mark.parametrize(
    ("trick", "family", "reason"),
    [
        ("leaky", "yolov3", "changes nothing here"),
        ("diou_nms", "centernet", "DIoU needs 'threshold'"),
        ("miwrc", "fcos", "timm's resnet18 does not take all of join"),
        ("cmbn", "fcos", "trainer.accumulate_grad_batches=1 makes every batch one mini-batch"),
        ("sync_bn", "fcos", "this run has one"),
    ],
)
def test_a_refusal_says_what_is_missing(trick: str, family: str, reason: str) -> None:
    assert reason in tricks.refusal(trick, family)


def test_sizes_at_which_a_family_cannot_be_asked_are_refused() -> None:
    reason = tricks.refusal("multiscale_tta", "yolov1")
    assert "YoloV1Tower is made for images of (320, 320)" in reason
    assert "multiscale_tta" in reason


def test_the_page_gathers_families_with_one_reason() -> None:
    page = tricks.render({"a": {"x": "", "y": "too wide", "z": "too wide"}}, ["x", "y", "z"], {})
    assert "| `a` | yes | no | no |" in page
    assert "- `a`, y, z: too wide" in page


@pytest.mark.slow
def test_every_cell_is_as_the_page_has_it() -> None:
    known = json.loads(SERVED.read_text())
    beside = compose([], "tricks").beside
    found = {t: [f for f in FAMILIES if not tricks.refusal(t, f, beside.get(t, ()))] for t in known}
    assert found == known
