"""Trains, validates and checkpoints a classifier."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import Callback
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, SequentialLR
from torchmetrics import MeanMetric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from detectors.classification.classifier import Classifier
from detectors.classification.cutmix import BatchCutMix
from detectors.classification.imagefolder import Finish
from detectors.clock import Clock, optimizer_steps
from detectors.data.ranges import check, within
from detectors.epoch_means import EpochMeans, numbers_due
from detectors.fused_steps import FusedSteps
from detectors.module import seed_draws, step_seed
from detectors.random_streams import stream
from detectors.structures import CHECKPOINT_FORMAT, LabelledImages


class LitClassifier(FusedSteps):
    """A classifier with its optimiser, schedule and metrics, for any Lightning `Trainer`.

    Args:
        classifier: what is trained.
        optimizer: called with the classifier.
        schedule: called with the optimiser and a number of optimiser steps: those of the run, or
            those before the finish, and once more for those of it.
        finish: the last epochs at another learning rate; None: without it.
        cutmix: mixes batches of images and one-hot targets; None: without it.
        label_smoothing: share of the target that all classes get alike (Szegedy et al. 2016, sec.
            7). darknet gives it to the others alone, which is `(C - 1) / C` of it here.
        seed: all randomness on the device is a function of (seed, epoch, batch, rank).
        config: plain containers that describe the run; stored in every checkpoint.
        channels_last: keep images and weights in the layout that convolutions are fastest in.
        compiled: train on a compiled loss; one graph for each size.

    Raises:
        ValueError: label_smoothing is out of its range.
    """

    def __init__(
        self,
        classifier: Classifier,
        optimizer: Callable[[torch.nn.Module], Optimizer],
        schedule: Callable[[Optimizer, int], LRScheduler],
        finish: Finish | None = None,
        cutmix: BatchCutMix | None = None,
        label_smoothing: float = 0.0,
        seed: int = 0,
        config: dict[str, Any] | None = None,
        channels_last: bool = True,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        check("classifier", within("label_smoothing", label_smoothing, "[0, 1)"))
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.classifier = classifier.to(memory_format=self.memory_format)
        self.optimizer, self.schedule, self.finish = optimizer, schedule, finish
        self.cutmix, self.label_smoothing = cutmix, label_smoothing
        self.seed, self.config, self.compiled = seed, config or {}, compiled
        self.num_classes = classifier.logits.out_channels
        self.means = EpochMeans()
        self.losses, self.accuracies = MeanMetric(), _accuracies(self.num_classes)

    def configure_callbacks(self) -> list[Callback]:
        """The clock and the means of the losses, whatever callbacks the trainer has."""
        return [Clock(self.compiled), self.means]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        optimizer = self.stepping(self.optimizer(self.classifier))
        steps = optimizer_steps(self.trainer)
        schedule = self._finishing(optimizer, steps) if self.finish else None
        return {
            "optimizer": optimizer,
            "lr_scheduler": {
                "scheduler": schedule or self.schedule(optimizer, steps),
                "interval": "step",
            },
        }

    def _finishing(self, optimizer: Optimizer, steps: int) -> SequentialLR:
        """The schedule before the finish, and once more within it, from its learning rate."""
        assert self.finish is not None
        epochs = self.trainer.max_epochs
        change = steps * self.finish.start(epochs) // (epochs or 1)
        first, last = self.schedule(optimizer, change), self.schedule(optimizer, steps - change)
        factor = self.finish.lr / optimizer.defaults["lr"]
        last.base_lrs = [lr * factor for lr in last.base_lrs]
        return SequentialLR(optimizer, [first, last], [change])

    def on_fit_start(self) -> None:
        self.loss = torch.compile(self._loss, dynamic=False) if self.compiled else self._loss

    def _loss(self, images: Tensor, targets: Tensor) -> Tensor:
        """Cross-entropy of targets [B, C] in [0, 1], smoothed."""
        logits = self.classifier(images.contiguous(memory_format=self.memory_format))
        return F.cross_entropy(logits, targets, label_smoothing=self.label_smoothing)

    def training_step(self, batch: LabelledImages, batch_idx: int) -> dict[str, Any]:
        """`loss`, and `terms`, its detached summands by name."""
        seed = step_seed(self.seed, self.current_epoch, batch_idx, self.global_rank)
        seed_draws(seed, self.device)
        images, targets = batch.images, F.one_hot(batch.labels, self.num_classes).float()
        if self.cutmix is not None:
            images, targets = self.cutmix(images, targets, stream(seed, name="class cutmix"))
        loss = self.loss(images, targets)
        self._log_step(loss.detach(), len(images))
        return {"loss": loss, "terms": {"class": loss.detach()}}

    def _log_step(self, loss: Tensor, images: int) -> None:
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.means.add({"loss": loss}, images, rate)
        if numbers_due(self.trainer):
            self.log("train/loss_step", loss)
            self.log("train/lr", rate)

    def validation_step(self, batch: LabelledImages, batch_idx: int) -> None:
        logits = self.classifier(batch.images.contiguous(memory_format=self.memory_format))
        losses = F.cross_entropy(logits, batch.labels, reduction="none")
        self.losses.update(losses)
        self.accuracies.update(logits, batch.labels)

    def on_validation_epoch_end(self) -> None:
        values = {"val/loss": self.losses.compute(), **self.accuracies.compute()}  # of all devices
        self.log_dict(values, rank_zero_only=False)
        self.losses.reset()
        self.accuracies.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["format"], checkpoint["config"] = CHECKPOINT_FORMAT, self.config
        checkpoint["classes"] = list(self.trainer.datamodule.classes)  # type: ignore[attr-defined]


def _accuracies(num_classes: int) -> MetricCollection:
    """Top-1 and top-5; of five classes or fewer the right one is always among the first five."""
    ranks = {"top1": 1, "top5": min(5, num_classes)}
    return MetricCollection(
        {
            name: MulticlassAccuracy(num_classes, top_k=rank, average="micro")
            for name, rank in ranks.items()
        },
        prefix="val/",
        compute_groups=False,  # found by comparing counts, which may be equal by chance
    )
