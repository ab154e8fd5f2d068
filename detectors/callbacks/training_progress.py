"""Tells parts with a schedule of their own how much of the run is done."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from detectors.layers.progress import TrainingProgress
from detectors.module import optimizer_steps


class SetTrainingProgress(Callback):
    """Before each step, sets every `TrainingProgress` of the module to the share of steps made.

    Optimiser steps, which Lightning saves and restores, so a resumed run goes on where it was.
    """

    def __init__(self) -> None:
        self.steps = 1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps = optimizer_steps(trainer)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        for part in pl_module.modules():
            if isinstance(part, TrainingProgress):
                part.done.fill_(trainer.global_step / self.steps)
