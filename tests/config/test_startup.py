"""What Hydra and the configs alone can decide is decided without torch, and help with less."""

import gc
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from detectors.__main__ import _imported, versions

ROOT = Path(__file__).parents[2]
OURS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
PROBE = """
import sys
from detectors.__main__ import main
for line in sys.argv[1:]:
    sys.argv = ["detectors", *line.split()]
    try:
        main()
    except SystemExit as stop:
        print(stop.code, file=sys.stderr)
    if "hydra" in sys.modules:
        sys.modules["hydra"].core.global_hydra.GlobalHydra.instance().clear()
print("IMPORTED", *sorted(name for name in sys.modules if "." not in name))
"""


def imported(folder: Path, *lines: str) -> tuple[set[str], str]:
    """Top-level modules after `detectors LINE` of each, and what it told on standard error."""
    command = [sys.executable, "-c", PROBE, *lines]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("IMPORTED")[2].split()), done.stderr


def test_what_needs_no_torch_is_refused_without_it(tmp_path: Path) -> None:
    told = {
        "train modle=fcos": "Did you mean 'model'?",
        "train model=retinanett": "Did you mean 'retinanet'?",
        "train trick=[mosiac]": "Did you mean 'mosaic'?",
        "train optimiser.lr=1": "Did you mean 'optimizer'?",
        "train +optimiser.lr=1": "nothing reads 'optimiser'",
        "train logger=[foo]": "Known: csv, mlflow, tensorboard, wandb",
        "train seed=abc": "seed: found 'abc', expected a whole number",
        "evaluate ckpt_path=no.ckpt": "ckpt_path=no.ckpt: no such file",
        "evaluate ckpt_path=.": "ckpt_path=. is a folder, expected a file: it has no checkpoint",
        "evaluate ckpt_path=run": "say ckpt_path=run/checkpoints/last.ckpt",
        "predict ckpt_path=last": "source has no value: add source=...",
        "trian": "Did you mean 'train'?",
    }
    checkpoints = tmp_path / "run" / "checkpoints"
    checkpoints.mkdir(parents=True)
    for name in ("last.ckpt", "best.ckpt"):
        (checkpoints / name).touch()
    modules, errors = imported(tmp_path, *told)
    assert [words for words, line in told.items() if line not in errors] == [], errors
    assert "torch" not in modules


@pytest.mark.parametrize("words", ["", "train --help", "tricks -h", "--version"])
def test_help_needs_neither_torch_nor_hydra(words: str, tmp_path: Path) -> None:
    modules, _ = imported(tmp_path, words)
    assert {"torch", "hydra"}.isdisjoint(modules)


def test_what_trains_nothing_needs_no_lightning(tmp_path: Path) -> None:
    small = "data=scenes_easy image_size=96"
    modules, errors = imported(
        tmp_path,
        f"preview {small} count=1",
        f"anchors {small} count=2 levels=1 data.train.read.count=20",
        f"show model=yolov3 size=small {small}",
    )
    assert len(list(tmp_path.glob("runs/*_preview/preview.png"))) == 1, errors
    assert "torch" in modules
    unused = {
        "lightning",
        "torchmetrics",
        "albumentations",
        "matplotlib",
        "pandas",
        "wandb",
        "timm",
    }
    assert modules & unused == set()


def test_versions_are_those_installed() -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    assert versions() == f"lightning-detectors {OURS}, torch {version('torch')}, Python {python}"


@pytest.mark.parametrize("last", ["pass", "raise ValueError"])
def test_nobody_looks_for_garbage_while_a_command_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str
) -> None:
    (tmp_path / "some_command.py").write_text(f"import gc\n\nlooked = gc.isenabled()\n{last}\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_command", raising=False)
    frozen = gc.get_freeze_count()
    try:
        assert _imported("some_command").looked is False
    except ValueError:
        assert last != "pass"
    assert gc.isenabled()
    assert gc.get_freeze_count() > frozen
    if last == "pass":
        gc.unfreeze()
        _imported("some_command")  # each job of a sweep: its garbage is no import's
        assert gc.get_freeze_count() == 0
