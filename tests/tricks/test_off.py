"""A family without tricks is the one that has never heard of them."""

import re
import shutil
from pathlib import Path

import pytest
import torch

import detectors.config.compose as composing
from detectors.config.compose import compose
from detectors.config.paths import CONF
from tests.tricks.bag import FAMILIES, trained_weights, words

# What stands in other files for tricks alone.
SERVING = {
    "train.yaml": [r"  - trick: \[\]\n", r"  sequential:.*?after: \{\}\n"],
    "loader/default.yaml": [
        r"mix: .*?\n",
        r"closing: .*?\n",
        r"balance: .*?\n",
        r"multiscale: .*?\n",
    ],
}


@pytest.fixture
def without_tricks(tmp_path: Path) -> Path:
    """A copy of the configs in which no trick is left."""
    conf = tmp_path / "conf"
    shutil.copytree(CONF, conf, ignore=shutil.ignore_patterns("trick", "experiment", "tricks.yaml"))
    for name, served in SERVING.items():
        text = (conf / name).read_text()
        for pattern in served:
            text, count = re.subn(pattern, "", text, count=1, flags=re.DOTALL)
            assert count == 1, f"{name} has no {pattern}"
        (conf / name).write_text(text)
    return conf


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=[pytest.mark.slow] * (f != "yolov3")) for f in FAMILIES]
)
def test_three_steps_end_in_the_same_weights(
    family: str, without_tricks: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    off = trained_weights(compose(words(family)), steps=3)
    untrained = trained_weights(compose(words(family)), steps=1)
    monkeypatch.setattr(composing, "CONF", without_tricks)
    plain = [word for word in words(family) if not word.startswith("trick=")]
    never = trained_weights(compose(plain), steps=3)
    assert off.keys() == never.keys()
    assert all(torch.equal(off[name], never[name]) for name in off)
    assert any(not torch.equal(off[name], untrained[name]) for name in off)
