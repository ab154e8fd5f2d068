"""Sets the clocks of parts that change as training goes on."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from detectors.layers.progress import ImagesSeen


class SetImagesSeen(Callback):
    """Before each step, tells every `ImagesSeen` of the module how many images that makes.

    The number is a function of the batches made since the run began, which Lightning saves and
    restores: `(batches before + 1) * batch size * processes`, as every batch of this project's
    loaders is full. So it is the same in a resumed run, and on all processes. Like darknet's `seen`
    it counts batches, not optimiser steps, and includes the present one (`src/network.c`,
    `train_network_datum`).
    """

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        batches = trainer.fit_loop.total_batch_idx + 1
        seen = batches * len(batch.images) * trainer.world_size
        for part in pl_module.modules():
            if isinstance(part, ImagesSeen):
                part.count.fill_(seen)
