"""Saves the best and the last state of a run, the last also within an epoch and when stopped."""

import logging
import os
import shutil
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from detectors.files import whole_file

_log = logging.getLogger(__name__)

STOPPING = (signal.SIGTERM, signal.SIGINT)
VALIDATION = "epoch_loop.val_loop.batch_progress"  # its counters in Lightning's `fit_loop`


class Stopped(SystemExit):
    """A signal has ended the run, with the status that shells give to it: 128 and its number."""

    def __init__(self, number: int, saved: str) -> None:
        super().__init__(128 + number)
        self.told = f"stopped by {signal.Signals(number).name}, {saved}"


class BestCheckpoint(ModelCheckpoint):
    """Lightning's, which knows its best value in a copied or moved run folder too.

    A run that goes on in another folder takes along the files that are the best so far.
    """

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Say where the files lie that the state names: in the folder of this run."""
        state = checkpoint["callbacks"].get(self.state_key)
        if state is None:
            return
        here, resumed = Path(str(self.dirpath)), Path(str(trainer.ckpt_path)).parent
        moved = {old: here / Path(old).name for old in state["best_k_models"]}
        if trainer.is_global_zero:
            for old, new in moved.items():
                _take_along(new, [resumed / new.name, Path(old)])
        trainer.strategy.barrier("best checkpoints")
        names = {old: str(new) for old, new in moved.items() if new.is_file()}
        scores = {new: state["best_k_models"][old] for old, new in names.items()}
        checkpoint["callbacks"][self.state_key] = {
            **state,
            "dirpath": self.dirpath,
            "best_k_models": scores,
            "best_model_path": names.get(state["best_model_path"], ""),
            "best_model_score": state["best_model_score"] if scores else None,
            "kth_best_model_path": names.get(state["kth_best_model_path"], ""),
            "last_model_path": "",
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """The value of the last file too, which Lightning writes down and does not read."""
        super().load_state_dict(state_dict)
        self.current_score = state_dict["current_score"]


def _take_along(new: Path, places: list[Path]) -> None:
    """Copy the file from the first place that has it, unless it is there already."""
    found = next((place for place in places if place.is_file()), None)
    if found is not None and not new.is_file():
        new.parent.mkdir(parents=True, exist_ok=True)
        with found.open("rb") as old, whole_file(new, "wb", found.stat().st_size) as copy:
            shutil.copyfileobj(old, copy)


class LastCheckpoint(ModelCheckpoint):
    """Writes `last.ckpt` at the end of each epoch, every few minutes, and when asked to stop.

    Within an epoch it is written after an optimiser step, because gradients that are still being
    accumulated are no part of it. SIGTERM and SIGINT let the step end, then the run is saved and
    ends by `Stopped`; during a validation it ends at once, and a resumed run repeats that. A second
    signal ends it without saving. Several processes stop and save at the same step.

    Args:
        folder: where it is written.
        minutes: from one file to the next; None: only at the end of epochs.
    """

    def __init__(self, folder: str, minutes: float | None = None) -> None:
        super().__init__(folder, "last", save_on_train_epoch_end=True, enable_version_counter=False)
        self.minutes = minutes
        self.file = Path(str(self.dirpath)) / f"last{self.FILE_EXTENSION}"
        self.asked: int | None = None  # the number of the first signal
        self.saved, self.validating, self.ending = time.monotonic(), False, False

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing: the file has one name, and is written whatever was there."""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self.asked, self.validating, self.ending = None, False, False
        self.saved = time.monotonic()
        if threading.current_thread() is threading.main_thread():
            for number in STOPPING:  # Lightning puts back what was there when it ends
                signal.signal(number, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked is not None:
            raise Stopped(number, "a second time, without saving")
        self.asked = number
        os.write(2, b"\nstopping after this step; once more to stop without saving\n")

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Save, and stop if a signal asked for it, once the optimiser has made a whole step."""
        whole = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if whole and not _soon_at_an_end(trainer, batch_idx):
            stop = self._agreed(trainer, self.asked is not None)
            if stop:  # Lightning would log the step after this
                trainer._logger_connector.update_train_step_metrics()
            if stop or self._agreed(trainer, self._due(trainer)):
                self._save(trainer)
            if stop:
                self._stop(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        self.saved = time.monotonic()
        self.ending = self._agreed(trainer, self.asked is not None)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.ending:  # only now Lightning has logged the epoch that ended
            self._stop(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_train_end(trainer, pl_module)
        if self.ending:
            self._stop(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._stop_validation(trainer)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any
    ) -> None:
        if trainer.world_size == 1:  # their numbers of batches differ
            self._stop_validation(trainer)

    def _stop_validation(self, trainer: Trainer) -> None:
        ended = 0 <= trainer.max_steps <= trainer.global_step  # a resumed run would not validate
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking or ended:
            return
        if self._agreed(trainer, self.asked is not None):
            self.validating = True
            self._save(trainer)
            self._stop(trainer)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Of a validation that is cut short, the counters as Lightning knows to repeat it."""
        if self.validating:
            counters = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress = checkpoint["loops"]["fit_loop"][VALIDATION]
            progress.update(total=counters, current=dict(counters), is_last_batch=False)

    def _due(self, trainer: Trainer) -> bool:
        """Whether it is time, by the clock of the first process."""
        passed = time.monotonic() - self.saved
        return trainer.is_global_zero and self.minutes is not None and passed >= 60 * self.minutes

    @staticmethod
    def _agreed(trainer: Trainer, mine: bool) -> bool:
        """Whether it is so for any process."""
        if trainer.world_size == 1:
            return mine
        return trainer.strategy.reduce_boolean_decision(mine, all=False)

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self.file)
        self.saved = time.monotonic()

    def _stop(self, trainer: Trainer) -> None:
        number = self.asked or signal.SIGTERM  # of another process
        raise Stopped(number, f"step {trainer.global_step} is saved in {self.file}")


def _soon_at_an_end(trainer: Trainer, batch_idx: int) -> bool:
    """Whether a validation or the end of the epoch follows; from here Lightning would skip it."""
    every = trainer.val_check_batch
    validates = every is not None and (batch_idx + 1) % every == 0
    ends = trainer.is_last_batch or 0 <= trainer.max_steps <= trainer.global_step
    return ends or validates
