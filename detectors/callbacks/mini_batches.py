"""Tells norms over several mini-batches where a batch begins and ends."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from detectors.layers.norm import CrossMiniBatchNorm


class SetMiniBatches(Callback):
    """Before each mini-batch, calls `begin` of every `CrossMiniBatchNorm`.

    Raises:
        ValueError: when checked or at the start, where every batch is one mini-batch.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Refuse a trainer of whose batches each is one mini-batch."""
        if trainer.accumulate_grad_batches < 2:
            raise ValueError(
                "norm=cmbn looks at the mini-batches of one batch, but "
                "trainer.accumulate_grad_batches=1 makes every batch one mini-batch, where it is "
                "plain batch norm: set trainer.accumulate_grad_batches=4, or norm=batch"
            )

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        count = trainer.accumulate_grad_batches
        position = batch_idx % count
        last = position == count - 1 or batch_idx + 1 == trainer.num_training_batches
        for part in pl_module.modules():
            if isinstance(part, CrossMiniBatchNorm):
                part.begin(first=position == 0, last=last)
