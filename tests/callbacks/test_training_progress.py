"""What layers are told about time, in whole runs and in resumed ones."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from detectors.callbacks.mini_batches import SetMiniBatches
from detectors.callbacks.several_devices import SeveralDevices
from detectors.callbacks.training_progress import SetTrainingProgress
from detectors.layers.norm import CrossMiniBatchNorm
from detectors.layers.progress import TrainingProgress

STEPS = 5  # mini-batches of an epoch, two for each step of the optimiser


class Data(LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        return DataLoader([torch.zeros(1)] * STEPS)


class Recording(LightningModule):
    """Writes down what its clock and its norm are told."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.progress, self.norm = TrainingProgress(), CrossMiniBatchNorm(1)
        self.shares: list[float] = []
        self.batches: list[tuple[int, bool]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.shares.append(round(float(self.progress.done), 3))
        self.batches.append((int(self.norm.count), bool(self.norm.last)))
        self.norm(torch.randn(2, 1, 2, 2))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def _fit(folder: Path, resume: Path | None = None, **settings: Any) -> Recording:
    module = Recording()
    kept = ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[SetTrainingProgress(), SetMiniBatches(), kept],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"accumulate_grad_batches": 2, **settings},
    )
    trainer.fit(module, datamodule=Data(), ckpt_path=resume)
    return module


def test_progress_is_the_share_of_steps_and_survives_a_resume(tmp_path: Path) -> None:
    whole = _fit(tmp_path)
    assert whole.shares == [0, 0, 0.167, 0.167, 0.333, 0.5, 0.5, 0.667, 0.667, 0.833]
    resumed = _fit(tmp_path / "resumed", tmp_path / "step=3.ckpt")
    assert resumed.shares == whole.shares[STEPS:]
    # The fifth mini-batch of an epoch is a batch of its own.
    epoch = [(0, False), (1, True), (0, False), (1, True), (0, True)]
    assert whole.batches == 2 * epoch


def test_what_means_nothing_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"accumulate_grad_batches=1 .* norm=batch"):
        _fit(tmp_path, accumulate_grad_batches=1)
    alone: Any = SimpleNamespace(num_devices=1, num_nodes=1)
    with pytest.raises(ValueError, match=r"sync_bn .* one.*trainer\.devices"):
        SeveralDevices().setup(alone, Recording(), "fit")
