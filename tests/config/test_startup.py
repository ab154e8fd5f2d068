"""What Hydra and the configs alone can decide is decided without torch, and help with less."""

import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import sys
sys.argv = ["detectors", *sys.argv[1:]]
from detectors.__main__ import main
try:
    main()
except SystemExit as stop:
    print(stop.code, file=sys.stderr)
print("IMPORTED", *sorted(name for name in sys.modules if "." not in name))
"""


def imported(folder: Path, *words: str) -> tuple[set[str], str]:
    """Top-level modules after `detectors WORDS`, and what it told on standard error."""
    command = [sys.executable, "-c", PROBE, *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("IMPORTED")[2].split()), done.stderr


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("train modle=fcos", "Did you mean 'model'?"),
        ("train model=retinanett", "Did you mean 'retinanet'?"),
        ("train trick=[mosiac]", "Did you mean 'mosaic'?"),
        ("train optimiser.lr=1", "Did you mean 'optimizer'?"),
        ("trian", "Did you mean 'train'?"),
    ],
)
def test_a_misspelt_word_is_refused_without_torch(words: str, told: str, tmp_path: Path) -> None:
    modules, errors = imported(tmp_path, *words.split())
    assert told in errors
    assert "torch" not in modules


@pytest.mark.parametrize("words", ["", "train --help", "tricks -h"])
def test_help_needs_neither_torch_nor_hydra(words: str, tmp_path: Path) -> None:
    modules, _ = imported(tmp_path, *words.split())
    assert {"torch", "hydra"}.isdisjoint(modules)
