"""No command runs what a checkpoint's config asks for and the user does not trust."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from detectors.engine.restoring import restored_data, restored_detector, restored_tta
from detectors.visualization.curves import draw

PLACES = {  # keys that lead to the place, of what is made of a checkpoint
    "model": ("part", "neck", "x"),
    "tta": ("tta",),
    "data": ("data", "resize"),
}


def copied(witness: Path) -> dict[str, Any]:
    """A node that copies a file, if it is ever made."""
    return {"_target_": "shutil.copyfile", "src": str(Path(__file__)), "dst": str(witness)}


def linked(config: dict[str, Any], witness: Path) -> Any:
    """A link to a node at the top, which no group of configs knows."""
    config["zz"] = copied(witness)
    return "${zz}"


def composed(config: dict[str, Any], witness: Path) -> Any:
    """A config that is composed anew, from words."""
    made = f"{{_target_: shutil.copyfile, src: '{__file__}', dst: '{witness}'}}"
    return {"_target_": "detectors.build", "model": "fcos", "overrides": [f"part.neck={made}"]}


def written(config: dict[str, Any], witness: Path) -> Any:
    """A function of ours that writes a file."""
    table = witness.with_name("metrics.csv")
    table.write_text("epoch,step,train/loss\n0,1,1.0\n1,2,0.5\n")
    return {
        "_target_": f"{draw.__module__}.draw",
        "folder": str(table.parent),
        "png": str(witness),
    }


def linked_composition(config: dict[str, Any], witness: Path) -> Any:
    config["zz"] = composed(config, witness)
    return "${zz}"


def linked_writing(config: dict[str, Any], witness: Path) -> Any:
    config["zz"] = {"_target_": "torch.nn.Identity", "x": written(config, witness)}
    return {"_target_": "torch.nn.Identity", "_recursive_": False, "y": ["${zz}"]}


def escaped(config: dict[str, Any], witness: Path) -> Any:
    """A link that is one only after the first has been followed."""
    config["zz"] = copied(witness)
    return r"\${zz}"


WAYS = (linked, composed, written, linked_composition, linked_writing, escaped)


def poisoned(
    checkpoint: dict[str, Any], place: str, way: Callable, folder: Path
) -> tuple[dict[str, Any], Path]:
    """A checkpoint that asks for code, and the file that is there once that has run."""
    witness = folder / f"{place}_{way.__name__}.png"
    config = copy.deepcopy(checkpoint["config"])
    *outer, last = PLACES[place]
    node = config
    for key in outer:
        node = node[key]
    node[last] = way(config, witness)
    return {**checkpoint, "config": config}, witness


@pytest.fixture(scope="module")
def checkpoint(trained: Path) -> dict[str, Any]:
    return torch.load(trained / "checkpoints" / "best.ckpt", weights_only=True)


def restored(checkpoint: dict[str, Any], place: str, changes: DictConfig) -> object:
    """What commands make of a place."""
    if place == "model":
        return restored_detector(checkpoint, [])
    if place == "tta":
        detector: Any = nn.Identity()
        return restored_tta(checkpoint, changes, detector, [])
    return restored_data(checkpoint, changes, [])


@pytest.mark.parametrize("place", PLACES)
def test_all_ways_and_their_combinations_are_refused(
    place: str, checkpoint: dict[str, Any], tmp_path: Path
) -> None:
    changes = OmegaConf.create({"tta": "trained", "data": {"batch_size": 2}})
    restored(checkpoint, place, changes)
    for way in WAYS:
        hostile, witness = poisoned(checkpoint, place, way, tmp_path)
        with pytest.raises(ValueError, match=r"the checkpoint asks for|would have to be computed"):
            restored(hostile, place, changes)
        assert not witness.exists(), way.__name__


COMMANDS = {
    "evaluate": [("model", linked), ("tta", linked), ("data", written)],
    "predict": [("model", composed), ("data", linked)],
    "train": [("model", linked)],
    "assign": [("model", linked)],
}


def words_of(command: str, trained: Path, tiny: list[str]) -> list[str]:
    known = {
        "evaluate": ["device=cpu"],
        "predict": [f"source={trained / 'pictures'}", "device=cpu"],
        "train": ["model=fcos", *tiny, "trick=[ema]"],
        "assign": ["model=fcos", *tiny, "compare=[sim_ota]"],
    }
    return [command, *known[command], "ckpt_path=hostile.ckpt"]


def test_no_command_runs_what_a_checkpoint_asks_for(
    trained: Path,
    checkpoint: dict[str, Any],
    tiny: list[str],
    detectors: Callable[..., None],
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
) -> None:
    for command, tries in COMMANDS.items():
        for place, way in tries:
            hostile, witness = poisoned(checkpoint, place, way, tmp_path)
            torch.save(hostile, tmp_path / "hostile.ckpt")
            with pytest.raises(SystemExit):
                detectors(tmp_path, *words_of(command, trained, tiny))
            told = capsys.readouterr().err
            assert not witness.exists(), (command, place, way.__name__)
            compares = {"train": "a run with other words", "assign": "holds another model"}
            assert compares.get(command, "the checkpoint asks") in told, told


def test_a_word_opens_ones_own_package(
    trained: Path,
    checkpoint: dict[str, Any],
    detectors: Callable[..., None],
    capsys: pytest.CaptureFixture,
    tmp_path: Path,
) -> None:
    (tmp_path / "own_tta.py").write_text("def asked(detector):\n    return detector\n")
    config = {**checkpoint["config"], "tta": {"_target_": "own_tta.asked"}}
    torch.save({**checkpoint, "config": config}, tmp_path / "own.ckpt")
    words = ["evaluate", "device=cpu", "ckpt_path=own.ckpt", "trainer.limit_val_batches=1"]
    with pytest.raises(SystemExit):
        detectors(tmp_path, *words)
    assert "add trust=[own_tta]" in capsys.readouterr().err
    detectors(tmp_path, *words, "trust=[own_tta]", "hydra.run.dir=out")
    assert (tmp_path / "out" / "metrics.json").is_file()
