"""Means of the losses over an epoch, with which a run that is resumed within it goes on."""

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


class EpochMeans(Callback):
    """Logs the mean of each loss over the pictures of an epoch; every module of ours brings it.

    Lightning's own means know only the steps of one process. These lie in every checkpoint, with
    the learning rate of the last step, and are logged whoever made the steps. They are those of the
    first process, as the losses of single steps are.
    """

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.images, self.rate = 0, 0.0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Go before the other callbacks, which find the means when the epoch ends."""
        others = [other for other in trainer.callbacks if other is not self]  # type: ignore[attr-defined]
        trainer.callbacks = [self, *others]  # type: ignore[attr-defined]

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self.sums, self.images = {}, 0

    def add(self, losses: Mapping[str, Tensor], images: int, rate: float) -> None:
        """Take the losses of a step over so many images, and its learning rate."""
        for name, value in losses.items():
            before = self.sums.get(name, value.new_zeros(())).to(value.device)
            self.sums[name] = before + value.detach().float() * images
        self.images, self.rate = self.images + images, rate

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.images:
            means = {f"train/{name}": value / self.images for name, value in self.sums.items()}
            pl_module.log_dict({**means, "train/lr": torch.tensor(self.rate)}, batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        return {"sums": self.sums, "images": self.images, "rate": self.rate}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.sums = dict(state_dict["sums"])
        self.images, self.rate = state_dict["images"], state_dict["rate"]


def numbers_due(trainer: Trainer) -> bool:
    """Whether Lightning keeps what is logged at this step, each `log_every_n_steps`."""
    return trainer._logger_connector.should_update_logs
