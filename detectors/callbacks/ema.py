"""Averages weights over training."""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from detectors.ranges import Count, Positive


class EMA(WeightAveraging):
    """Evaluates and saves an exponential moving average of weights and buffers in their place.

    A checkpoint's `state_dict` is the average; the weights in training, the average's counter and
    the step of its last update stand beside it, so a resumed run continues exactly.

    The decay grows as `min(decay, (1 + n) / (10 + n))` with the number n of updates (Abadi et al.,
    `tf.train.ExponentialMovingAverage`), so that a short run does not average in its random start.

    Args:
        decay: the decay reached, in [0, 1).
        every: optimiser steps from one update to the next.
        ramp: the n-th update decays by `decay * (1 - exp(-n / ramp))` instead; 2000 in YOLOX.
    """

    def __init__(
        self, decay: float = 0.9998, every: Count = 1, ramp: Positive | None = None
    ) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}, expected a number in [0, 1)")
        if every < 1:
            raise ValueError(f"every is {every}, expected at least one step")
        super().__init__(multi_avg_fn=self._update)
        self.decay, self.every, self.ramp = decay, every, ramp
        self.swapped = False  # the average stands in the module, and the weights in its place

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        return step_idx is not None and (step_idx + 1) % self.every == 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # In Lightning's set-up the module has not reached its device yet, so neither has the copy.
        # The counter stays on the host: reading it there makes no step wait for an accelerator.
        assert self._average_model is not None
        self._average_model.module.to(pl_module.device)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average to the module, also of a resumed run that had no step left.

        Lightning's callback would go on to put it in the place of what is evaluated after training,
        such as the best checkpoint.
        """
        assert self._average_model is not None
        self._copy_average_to_current(pl_module)
        self._average_model = None

    def _swap_models(self, pl_module: LightningModule) -> None:
        super()._swap_models(pl_module)
        self.swapped = not self.swapped

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """As Lightning's, but also right within a validation, where the two are swapped."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if self.swapped:
            weights, average = checkpoint["state_dict"], checkpoint["current_model_state"]
            checkpoint.update(state_dict=average, current_model_state=weights)

    @torch.no_grad()
    def _update(self, averaged: Any, current: Any, updates: Tensor) -> None:
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, 1 - self._current_decay())
        else:
            torch._foreach_copy_(averaged, current)  # counters, such as batch norm's

    def _current_decay(self) -> float:
        assert self._average_model is not None
        updates = int(self._average_model.n_averaged)  # before this one
        if self.ramp is not None:
            return self.decay * (1 - math.exp(-(updates + 1) / self.ramp))
        return min(self.decay, (1 + updates) / (10 + updates))
