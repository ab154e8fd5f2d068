"""A run that is stopped by a signal, wherever it is, goes on as if it had never been."""

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from detectors.callbacks.checkpoints import BestCheckpoint, LastCheckpoint
from detectors.callbacks.ema import EMA
from detectors.callbacks.steps import StepsTable
from detectors.callbacks.table import EpochTable
from tests.test_module import fit, same

SETTINGS: dict[str, Any] = {
    "max_epochs": 2,
    "accumulate_grad_batches": 2,
    "num_sanity_val_steps": 0,
}


class Signal(Callback):
    """Sends a signal to this process when a hook is called for the `count`th time."""

    def __init__(self, hook: str, count: int, number: int) -> None:
        self.left = count
        setattr(self, hook, lambda *_, **__: self._called(number))

    def _called(self, number: int) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), number)


def callbacks(folder: Path, minutes: float | None = None) -> list[Callback]:
    folder.mkdir(exist_ok=True)
    return [EMA(decay=0.9), EpochTable(str(folder)), LastCheckpoint(str(folder), minutes)]


def logged(folder: Path) -> dict[str, Any]:
    """Settings of a run that logs every step."""
    return {**SETTINGS, "logger": StepsTable(str(folder)), "log_every_n_steps": 1}


def tables(folder: Path) -> list[str]:
    return [(folder / name).read_text() for name in ("metrics.csv", "steps.csv")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[str]]:
    """The module and the tables of a run that nothing stops."""
    folder = tmp_path_factory.mktemp("whole")
    module = fit(folder, callbacks(folder), **logged(folder))
    return module, tables(folder)


@pytest.mark.parametrize(
    ("hook", "count", "number", "step"),
    [
        ("on_train_batch_start", 3, signal.SIGTERM, 2),  # ends what is being accumulated
        ("on_train_batch_end", 4, signal.SIGINT, 2),
        ("on_train_batch_start", 6, signal.SIGTERM, 3),  # the last of the epoch
        ("on_validation_batch_start", 2, signal.SIGTERM, 3),  # where the average stands in
        ("on_train_epoch_end", 1, signal.SIGINT, 3),
        ("on_validation_batch_end", 11, signal.SIGTERM, 6),
        ("on_train_epoch_end", 2, signal.SIGTERM, 6),
    ],
)
def test_a_signal_saves_the_step_and_the_run_goes_on_exactly(
    whole: tuple[Any, list[str]], tmp_path: Path, hook: str, count: int, number: int, step: int
) -> None:
    before = signal.getsignal(number)
    with pytest.raises(SystemExit, match=str(128 + number)) as stop:
        fit(tmp_path, [Signal(hook, count, number), *callbacks(tmp_path)], **logged(tmp_path))
    assert f"step {step} is saved in {tmp_path / 'last.ckpt'}" in stop.value.told
    assert signal.getsignal(number) == before
    last, settings = tmp_path / "last.ckpt", logged(tmp_path)
    resumed = fit(tmp_path, callbacks(tmp_path), resume=last, **settings)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 6
    assert all(torch.equal(saved["state_dict"][n], v) for n, v in whole[0].state_dict().items())
    assert same(whole[0], resumed) or step == 6  # nothing was left to train
    assert tables(tmp_path) == whole[1]


def test_it_is_saved_every_few_minutes_after_whole_steps(tmp_path: Path) -> None:
    steps = []

    class Seen(LastCheckpoint):
        def _save(self, trainer: Any) -> None:
            super()._save(trainer)
            steps.append(trainer.global_step)

    fit(tmp_path, [Seen(str(tmp_path), minutes=0.0)], **SETTINGS)
    assert steps == [1, 2, 4, 5]  # the third and sixth end an epoch


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    last = LastCheckpoint(str(tmp_path))
    last._note(signal.SIGINT, None)
    with pytest.raises(SystemExit, match="130"):
        last._note(signal.SIGINT, None)


@pytest.mark.parametrize("place", ["copied", "other"])
def test_the_best_value_is_known_in_another_folder(tmp_path: Path, place: str) -> None:
    """A copy of the run folder, or a new one that goes on from a checkpoint of the old one."""

    def best(folder: Path) -> BestCheckpoint:
        return BestCheckpoint(folder, "best", monitor="val/AP", mode="max")

    settings = {**SETTINGS, "max_epochs": 1}
    first, folder = best(tmp_path / "first"), tmp_path / place
    fit(tmp_path, [first, LastCheckpoint(str(tmp_path / "first"))], **settings)
    assert first.best_model_score == 1
    resume = tmp_path / "first" / "last.ckpt"
    if place == "copied":
        shutil.copytree(tmp_path / "first", folder)
        shutil.rmtree(tmp_path / "first")
        resume = folder / "last.ckpt"
    second = best(folder)
    fit(tmp_path, [second], resume=resume, **SETTINGS)
    assert second.best_model_score == 1
    assert second.best_model_path == str(folder / "best.ckpt")
    assert torch.load(second.best_model_path, weights_only=True)["global_step"] == 3
