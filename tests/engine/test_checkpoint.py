"""A checkpoint is found where it should be, and asked as in training or as the command says."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from detectors.config.compose import compose
from detectors.engine import checkpoint as finding
from detectors.engine.checkpoint import checkpoint_file, training_file
from detectors.engine.restoring import restored_tta
from detectors.structures import CHECKPOINT_FORMAT
from detectors.tta import FlipAverage, MultiScaleTTA
from detectors.weights.checkpoint import load_checkpoint


def asked(trick: str, *words: str, **changed: Any) -> nn.Module:
    trained = compose([f"trick=[{trick}]", "run_dir=none"])
    node = OmegaConf.to_container(trained.tta, resolve=True) if trick else None
    checkpoint = {"config": {"tta": {**node, **changed} if isinstance(node, dict) else None}}
    changes = compose([*words, "ckpt_path=none", "run_dir=none"], "evaluate")
    detector: Any = nn.Identity()
    return restored_tta(checkpoint, changes, detector, [])


def test_a_checkpoint_is_asked_as_in_training_unless_the_command_says_otherwise() -> None:
    own = asked("flip_tta")
    assert isinstance(own, MultiScaleTTA)
    assert (own.scales, own.flips) == ([1.0], [False, True])
    assert isinstance(asked(""), nn.Identity)
    assert isinstance(asked("flip_tta", "tta=once"), nn.Identity)
    assert isinstance(asked("flip_tta", "tta=flip"), FlipAverage)
    assert isinstance(asked("", "tta=scales"), MultiScaleTTA)


def test_code_that_is_not_trusted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"asks for 'os\.system'"):
        asked("flip_tta", _target_="os.system")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"config": {"model": {}}}, "another version of this package, as format 1"),
        ({"config": {"model": {}}, "format": 99}, "as format 99; this one reads format"),
        ({"state_dict": {}, "format": CHECKPOINT_FORMAT}, "holds no config"),
    ],
)
def test_a_checkpoint_of_another_format_is_refused(
    content: dict[str, Any], told: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match=told):
        load_checkpoint(tmp_path / "last.ckpt")


def runs(folder: Path, *names: str) -> Path:
    """A folder with runs of these names, the newest last."""
    for age, name in enumerate(reversed(names)):
        file = folder / name / "checkpoints" / "last.ckpt"
        file.parent.mkdir(parents=True)
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    return folder


def test_reading_takes_the_newest_run_and_says_which(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs(tmp_path, "old", "sweep/3", "older_name")
    caplog.set_level(logging.INFO)
    assert checkpoint_file("last", tmp_path / "new").parts[-3] == "older_name"
    assert "ckpt_path=last: " in caplog.text
    assert checkpoint_file("last", tmp_path / "old").parts[-3] == "old"
    with pytest.raises(ValueError, match=r"no run in .* has a checkpoint"):
        checkpoint_file("last", tmp_path / "old" / "checkpoints" / "x")


def test_training_goes_on_with_no_neighbour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job of a sweep that had no checkpoint when it was killed starts anew."""
    runs(tmp_path, "0", "2")
    told = r"this folder is new: say .*\. The newest are \S*/2, \S*/0$"
    with pytest.raises(ValueError, match=told):
        training_file("last", tmp_path / "1")
    assert training_file("last", tmp_path / "0") == tmp_path / "0" / "checkpoints" / "last.ckpt"
    monkeypatch.setattr(finding, "_named_by_user", lambda: True)
    assert training_file("last", tmp_path / "1") is None
    assert "1 has no checkpoint yet, so the run starts anew" in caplog.text


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_checkpoint_is_called_truncated(share: float, tmp_path: Path) -> None:
    file = tmp_path / "last.ckpt"
    torch.save({"config": {"model": {}}, "state_dict": {"a": torch.zeros(99)}}, file)
    content = file.read_bytes()
    file.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ValueError, match=r"last\.ckpt: a truncated checkpoint"):
        load_checkpoint(file)


def test_a_file_that_is_no_checkpoint_is_not_called_truncated(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_text("no checkpoint")
    with pytest.raises(ValueError, match="no checkpoint, or a damaged one"):
        load_checkpoint(tmp_path / "last.ckpt")
