"""Ends training after a few steps of a run that is planned as a whole."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from detectors.ranges import Count


class Brief(Callback):
    """Ends training after so many optimiser steps, with a validation, as if an epoch ended.

    Unlike `trainer.max_steps` it leaves the plan as it is, so that warm-up, milestones and the
    epochs of other parts are those of the whole run, and any recipe can be tried.
    """

    def __init__(self, steps: Count) -> None:
        self.steps = steps

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        trainer.should_stop = trainer.should_stop or trainer.global_step >= self.steps
