"""A checkpoint is asked as it was in training, or as the command says."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from detectors.config.compose import compose
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
