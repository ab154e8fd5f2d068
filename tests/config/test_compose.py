"""Configs are remembered for as long as their files stay as they are."""

import shutil
from pathlib import Path

import pytest

from detectors.config import compose as composing
from detectors.config.paths import CONF, choices


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of our configs, from which is composed."""
    root = tmp_path / "conf"
    shutil.copytree(CONF, root)
    for module in ("compose", "paths", "words"):
        monkeypatch.setattr(f"detectors.config.{module}.CONF", root)
    return root


def test_a_file_that_is_written_counts_at_once(copied: Path) -> None:
    assert composing.compose(["model=fcos"]).optimizer.lr != 0.125
    file = copied / "optimizer" / "adamw.yaml"
    file.write_text(file.read_text().replace("lr: ", "lr: 0.125  # "))
    assert composing.compose(["model=fcos"]).optimizer.lr == 0.125
    (copied / "neck" / "mine.yaml").write_text("# @package part.neck\n_target_: mine.Neck\n")
    assert "mine" in choices()["neck"]
    assert composing.compose(["model=fcos", "neck=mine"]).part.neck._target_ == "mine.Neck"


def test_what_is_changed_in_a_config_does_not_stay(copied: Path) -> None:
    composing.compose(["model=fcos"]).seed = 7
    assert composing.compose(["model=fcos"]).seed == 0
