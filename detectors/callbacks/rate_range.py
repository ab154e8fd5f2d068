"""Tests at which learning rates a detector learns, while a schedule lets the rate rise."""

import csv
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from detectors.files import whole_file
from detectors.ranges import Count
from detectors.visualization.curves import rate_curve

FILE, PICTURE = "lr_range.csv", "lr_range.png"

_log = logging.getLogger(__name__)


class Suggestion(NamedTuple):
    """Learning rates that a range test speaks for."""

    steepest: float  # where the smoothed loss falls fastest over the logarithm of the rate
    tenth: float  # of the rate at which the smoothed loss is least


class RateRange(Callback):
    """Writes `lr_range.csv` and `lr_range.png`, and logs the learning rates that they suggest.

    The learning rate range test of Smith 2017, sec. 3.3, with a schedule such as `optim.rising`.
    The loss of a step is the mean over its batches and devices, found before the step is made; that
    of a rate thus shows what the rates before it have done. The smoothed loss is the mean over
    `window` steps to either side, or as many as there are. Training ends when that is `explosion`
    times its least value, or a loss is not finite.

    Args:
        folder: where the files are written.
        explosion: above 1; 4 in fastai's `LRFinder`.
        window: steps to either side.

    Raises:
        FloatingPointError: the first loss is not finite already.
    """

    def __init__(self, folder: str, explosion: float = 4.0, window: Count = 5) -> None:
        if explosion <= 1:
            raise ValueError(f"explosion is {explosion}, expected a number above 1")
        self.folder, self.explosion, self.window = Path(folder), explosion, window
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.parts: list[Tensor] = []  # of the step that is being accumulated
        self.exploded = False

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        """Notes the rate of the step; those of the optimiser's groups are multiples of it."""
        group = optimizer.param_groups[0]
        self.rates.append(optimizer.defaults["lr"] * group["lr"] / group["initial_lr"])

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Notes the loss, and ends training where it has exploded."""
        self.parts.append(torch.stack(list(outputs["terms"].values())).sum().float())
        if len(self.rates) == len(self.losses):  # the step goes on
            return
        mean = trainer.strategy.reduce(torch.stack(self.parts).mean(), reduce_op="mean")
        self.losses, self.parts = [*self.losses, float(mean)], []
        if not math.isfinite(self.losses[0]):
            raise FloatingPointError(f"the first loss is {self.losses[0]}, before any step is made")
        smooth = smoothed(self.losses, self.window)
        if not math.isfinite(self.losses[-1]) or smooth[-1] > self.explosion * min(smooth):
            self.exploded = trainer.should_stop = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.is_global_zero and self.losses:
            self._write()

    def _write(self) -> None:
        smooth = smoothed(self.losses, self.window)
        with whole_file(self.folder / FILE) as file:
            writer = csv.writer(file)
            writer.writerow(["step", "lr", "loss", "smoothed"])
            rows = zip(self.rates, self.losses, smooth, strict=True)
            writer.writerows([step, *row] for step, row in enumerate(rows))
        found = suggestion(self.rates, smooth)
        named = "steepest descent", "a tenth of the least"
        marks = {} if found is None else dict(zip(named, found, strict=True))
        rate_curve(self.rates, self.losses, smooth, marks, self.folder / PICTURE)
        self._tell(found)

    def _tell(self, found: Suggestion | None) -> None:
        count, last = len(self.rates), self.rates[-1]
        ended = "the loss exploded" if self.exploded else "the loss did not explode"
        _log.info("%d steps, learning rate %.2g to %.2g: %s", count, self.rates[0], last, ended)
        if found is None:
            _log.warning("the loss never fell, so no learning rate is suggested: see %s", FILE)
            return
        _log.info(
            "the loss fell fastest at optimizer.lr=%.2g; a tenth of where it was least: %.2g",
            *found,
        )
        if not self.exploded and 10 * found.tenth >= last:
            _log.warning("it still fell at the last rate: the test ended too soon")


def smoothed(losses: Sequence[float], window: int) -> list[float]:
    """The mean of each loss with those of `window` steps to either side, or as many as there are.

    Losses that are not finite are left out; where there is no other, that is one.
    """
    values = np.asarray(losses, float)
    finite = np.isfinite(values)
    sums = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    place = np.arange(len(values))
    low, high = np.maximum(place - window, 0), np.minimum(place + window + 1, len(values))
    with np.errstate(invalid="ignore"):
        means = (sums[high] - sums[low]) / (counts[high] - counts[low])
    return means.tolist()


def suggestion(rates: Sequence[float], smooth: Sequence[float]) -> Suggestion | None:
    """What a test speaks for; None where the smoothed loss is nowhere below its first value.

    The steepest descent is looked for up to the least loss.
    """
    least = int(np.nanargmin(smooth))
    if least == 0:
        return None
    slopes = np.gradient(np.asarray(smooth[: least + 1]), np.log(rates[: least + 1]))
    return Suggestion(rates[int(np.argmin(slopes))], rates[least] / 10)
