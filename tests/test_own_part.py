"""A part of the user's own is one Python file and one YAML outside the package."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import detectors

NECK = '''
from torch import nn

from detectors.structures import FeatureSpec


class Slim(nn.Module):
    """Every level squeezed to one width."""

    def __init__(self, specs, width):
        super().__init__()
        self.specs = [FeatureSpec(width, spec.stride) for spec in specs]
        self.squeeze = nn.ModuleList(nn.Conv2d(spec.channels, width, 1) for spec in specs)

    def forward(self, features):
        return [squeeze(x) for squeeze, x in zip(self.squeeze, features, strict=True)]
'''
YAML = """\
# @package part.neck
_target_: slim_neck.Slim
_partial_: true
width: 48
"""
WORDS = ["neck=slim", "size=small", "part.priors.levels=3", "part.tower.depth=1"]
WORDS += ["part.tower.norm=null", "image_size=96"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a user keeps slim_neck.py and parts/neck/slim.yaml."""
    (tmp_path / "slim_neck.py").write_text(NECK)
    (tmp_path / "parts" / "neck").mkdir(parents=True)
    (tmp_path / "parts" / "neck" / "slim.yaml").write_text(YAML)
    return tmp_path


def test_python_builds_with_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))
    search = f"hydra.searchpath=[file://{folder / 'parts'}]"
    detector = detectors.build("fcos", [search, *WORDS, "part.neck.width=32"], num_classes=2)
    assert type(detector.neck).__module__ == "slim_neck"
    assert detector.eval()(torch.zeros(1, 3, 96, 96)).valid.shape[0] == 1


def test_command_line_trains_with_it(folder: Path) -> None:
    words = [*WORDS, "model=fcos", "data=scenes_easy", "trainer=smoke", "device=cpu"]
    words += ["data.batch_size=2", "data.num_workers=0", "hydra.run.dir=out"]
    command = [sys.executable, "-m", "detectors", "train", "--config-dir", "parts", *words]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, env=os.environ | {"COLUMNS": "120"}
    )
    assert done.returncode == 0, done.stderr
    assert "slim_neck.Slim" in (folder / "out" / "config.yaml").read_text()
    assert (folder / "out" / "checkpoints" / "last.ckpt").is_file()
