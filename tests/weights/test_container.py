"""A checkpoint kept as safetensors is the same detector."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import detectors
from detectors.config.compose import compose
from detectors.config.links import with_links
from detectors.structures import CHECKPOINT_FORMAT
from detectors.weights.checkpoint import load_checkpoint
from detectors.weights.container import write_container
from detectors.weights.trained import is_checkpoint

WORDS = ["model=yolov3_tiny", "size=small", "image_size=64", "data=scenes_easy"]


@pytest.fixture(scope="module")
def checkpoint() -> dict[str, Any]:
    """As a training writes it, with things in it that a container leaves out."""
    torch.manual_seed(0)
    built = detectors.build("yolov3_tiny", WORDS[1:])
    state = {f"detector.{name}": value for name, value in built.state_dict().items()}
    return {
        "format": CHECKPOINT_FORMAT,
        "config": with_links(compose([*WORDS, "run_dir=x"])),
        "classes": ["disk", "triangle", "cross", "ring"],
        "category_ids": [1, 2, 3, 4],
        "state_dict": {**state, "elsewhere": torch.zeros(3)},
        "optimizer_states": [{"lr": 0.1}],
    }


def test_the_same_detector_is_loaded(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    file, plain = tmp_path / "best.safetensors", tmp_path / "best.ckpt"
    torch.save(checkpoint, plain)
    write_container(load_checkpoint(plain), file)
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        one, other = (detectors.load(path) for path in (plain, file))
        for a, b in zip(one(images), other(images), strict=True):
            assert torch.equal(a, b)
    assert one.classes == other.classes == tuple(checkpoint["classes"])
    assert load_checkpoint(file)["category_ids"] == [1, 2, 3, 4]
    assert "elsewhere" not in load_checkpoint(file)["state_dict"]


def test_it_may_be_what_another_run_starts_from() -> None:
    assert is_checkpoint("runs/best.safetensors")
    assert not is_checkpoint("torchvision:runs/best.safetensors")


def test_files_of_others_and_damaged_ones_are_refused(tmp_path: Path) -> None:
    theirs, damaged = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_file({"weight": torch.zeros(2)}, theirs)
    damaged.write_bytes(theirs.read_bytes()[:40])
    with pytest.raises(ValueError, match="does not say of which detector"):
        load_checkpoint(theirs)
    for file in (damaged, tmp_path / "gone.safetensors"):
        with pytest.raises(ValueError, match="no safetensors file, or a damaged one"):
            load_checkpoint(file)


def test_another_format_is_refused(checkpoint: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "old.safetensors"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detectors.weights.container.CHECKPOINT_FORMAT", CHECKPOINT_FORMAT - 1)
        write_container(checkpoint, file)
    with pytest.raises(ValueError, match="another version of this package"):
        load_checkpoint(file)
