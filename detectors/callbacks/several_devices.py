"""Refuses to train on one device what only makes sense on several."""

from lightning.pytorch import Callback, LightningModule, Trainer


class SeveralDevices(Callback):
    """Guards `trainer.sync_batchnorm`, which on one device is plain batch norm.

    Raises:
        ValueError: when checked or at the start of training, on one process.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit":
            self.check(trainer)

    def check(self, trainer: Trainer) -> None:
        """Refuse a trainer of one process; before it starts it knows no other `world_size`."""
        if trainer.num_devices * trainer.num_nodes == 1:
            raise ValueError(
                "sync_bn shares the statistics of batch norms between devices, but this run has "
                "one, where it changes nothing: set trainer.devices, or leave the trick out"
            )
