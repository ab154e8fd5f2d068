"""Refuses a run on one device where several are what matters."""

from lightning.pytorch import Callback, LightningModule, Trainer


class SeveralDevices(Callback):
    """For `trainer.sync_batchnorm`, which on one device is plain batch norm.

    Raises:
        ValueError: at the start of training, on one process.
    """

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "fit" and trainer.world_size == 1:
            raise ValueError(
                "sync_bn shares the statistics of batch norms between devices, but this run has "
                "one, where it changes nothing: set trainer.devices, or leave the trick out"
            )
