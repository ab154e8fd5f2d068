"""Tells the parts of a network how far its training is; part of every training."""

import math
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from detectors.layers.progress import Counting, Remembering, check_demands, tell, tell_counts
from detectors.structures import Annotations, Progress

KEPT = "memories"  # their key in a checkpoint


class Clock(Callback):
    """Serves all parts of a module that `layers.progress` knows; every module of ours brings it.

    Before each batch it calls `tell` with the `Progress`, which follows from counters that
    Lightning saves and restores: a resumed run hears what the run that never stopped did. Like
    darknet's `seen`, `images_seen` counts batches, not optimiser steps, and takes each for full,
    as every batch of this project's loaders is (`src/network.c`, `train_network_datum`).

    Args:
        compiled: whether the module compiles its loss.

    Raises:
        ValueError: at the start of training, a part cannot be trained in this way.
    """

    def __init__(self, compiled: bool) -> None:
        self.compiled, self.steps, self.epochs = compiled, 1, 1
        self.progress: Progress | None = None  # of the present batch
        self.kept: dict[str, Any] = {}

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            check_demands(pl_module, trainer.accumulate_grad_batches, self.compiled)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if any(isinstance(part, Counting) for part in pl_module.modules()):
            annotations = trainer.datamodule.annotations("train")  # type: ignore[attr-defined]
            tell_counts(pl_module, class_counts(annotations))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.steps = optimizer_steps(trainer)
        of_epoch = math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)
        self.epochs = math.ceil(self.steps / max(of_epoch, 1))
        for name, memory in self.kept.items():
            part = pl_module.get_submodule(name)
            assert isinstance(part, Remembering)
            part.recall(memory)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Tells the parts how far the run is, this batch included in `images_seen`."""
        batches = trainer.fit_loop.total_batch_idx + 1
        whole = trainer.accumulate_grad_batches
        position = batch_idx % whole
        left = trainer.num_training_batches - (batch_idx - position)
        self.progress = Progress(
            images_seen=batches * len(batch.images) * trainer.world_size,
            step=trainer.global_step,
            steps=self.steps,
            epoch=trainer.current_epoch,
            epochs=self.epochs,
            mini_batch=position,
            mini_batches=int(min(whole, left)),
        )
        tell(pl_module, self.progress)

    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        parts = ((n, p) for n, p in pl_module.named_modules() if isinstance(p, Remembering))
        checkpoint[KEPT] = {name: part.memory() for name, part in parts}

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self.kept = checkpoint.get(KEPT, {})


def class_counts(annotations: Annotations) -> Tensor:
    """[C] int64 objects of each class; without crowds and difficult ones, which get no prior."""
    labels = annotations.labels[~(annotations.crowd | annotations.difficult)]
    return torch.from_numpy(np.bincount(labels, minlength=len(annotations.classes)))


def optimizer_steps(trainer: Trainer) -> int:
    """Optimiser steps of the whole run.

    Lightning's own `estimated_stepping_batches` would open the training loader for good, before a
    resumed run has restored its place within the epoch.

    Raises:
        ValueError: the run has no end.
    """
    return steps_of_run(trainer, len(trainer.datamodule.train_dataloader()))  # type: ignore[attr-defined]


def steps_of_run(trainer: Trainer, batches: int) -> int:
    """The same, where an epoch has so many batches."""
    if trainer.max_epochs in (None, -1) and trainer.max_steps == -1:
        raise ValueError("a schedule needs an end: set trainer.max_epochs or trainer.max_steps")
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    epochs = trainer.max_epochs if trainer.max_epochs not in (None, -1) else math.inf
    steps = epochs * math.ceil(batches / trainer.accumulate_grad_batches)
    return int(steps if trainer.max_steps == -1 else min(steps, trainer.max_steps))
