"""Measures what a training costs: seconds, pictures and memory."""

import logging
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn

from detectors.measuring import device_peak, process_peak, reset_peaks, synchronize

_log = logging.getLogger(__name__)

TRAINING, EVALUATION = "train_seconds", "evaluation_seconds"


class Costs(Callback):
    """Counts seconds of training and of evaluations, pictures, and the peak of memory.

    The counts lie in every checkpoint, so those of a resumed run are of all its lives. What was
    lost when a process was killed, and is done again, counts once. Pictures are those of all
    processes of a run. Memory is that of the first alone, and so are seconds, by the wall clock:
    reading pictures and saving checkpoints take part. What a device
    still has to do at a border between training and evaluation belongs to what is before it.
    """

    def __init__(self) -> None:
        self.seconds = {TRAINING: 0.0, EVALUATION: 0.0}
        self.doing: str | None = None  # a key of `seconds`
        self.since = 0.0
        self.told = dict(self.seconds)  # at the last evaluation
        self.images_seen, self.timed = 0, 0  # timed: those of which the seconds are known
        self.steps, self.epochs = 0, 0
        self.peaks: dict[str, int | None] = {"process": 0, "device": None}  # of earlier lives
        self.device = torch.device("cpu")

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.device = trainer.strategy.root_device
        if stage == "fit":
            reset_peaks(self.device)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._turn_to(TRAINING)

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        clock: Any = pl_module.clock
        self.images_seen = clock.progress.images_seen
        self.timed += len(batch.images) * trainer.world_size
        self.steps = trainer.global_step

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epochs = trainer.current_epoch + 1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            self._turn_to(EVALUATION)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        fitting = trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking
        self._turn_to(TRAINING if fitting else None)
        if fitting and trainer.is_global_zero:
            spent = {name: self.seconds[name] - self.told[name] for name in self.seconds}
            share = 100 * spent[EVALUATION] / sum(spent.values())
            told = "evaluation after epoch %d: %.1f s, %.0f %% of the time since the last one"
            _log.info(told, trainer.current_epoch + 1, spent[EVALUATION], share)
            self.told = dict(self.seconds)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._turn_to(EVALUATION)

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._turn_to(None)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._turn_to(None)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._count()
        self.doing = None

    def _turn_to(self, what: str | None) -> None:
        synchronize(self.device)
        self._count()
        self.doing = what

    def _count(self) -> None:
        now = time.perf_counter()
        if self.doing is not None:
            self.seconds[self.doing] += now - self.since
        self.since = now

    def found(self) -> dict[str, Any]:
        """All of it by the names of `run.json`; memory in bytes, None where it is not known."""
        self._count()
        seconds = self.seconds[TRAINING]
        return {
            "images_seen": self.images_seen,
            "steps": self.steps,
            "epochs": self.epochs,
            **self.seconds,
            "images_per_second": self.timed / seconds if seconds else 0.0,
            "memory": self._memory(),
        }

    def _memory(self) -> dict[str, int | None]:
        now = {"process": process_peak(), "device": device_peak(self.device)}
        known = {name: [n for n in (self.peaks[name], now[name]) if n is not None] for name in now}
        return {name: max(numbers, default=None) for name, numbers in known.items()}

    def state_dict(self) -> dict[str, Any]:
        return {**self.found(), "timed": self.timed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.seconds = {name: state_dict[name] for name in self.seconds}
        self.told = dict(self.seconds)
        self.images_seen, self.timed = state_dict["images_seen"], state_dict["timed"]
        self.steps, self.epochs = state_dict["steps"], state_dict["epochs"]
        self.peaks = dict(state_dict["memory"])
