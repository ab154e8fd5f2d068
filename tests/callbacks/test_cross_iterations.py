"""Norms that look back go on exactly where a run stopped."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from detectors.callbacks.cross_iterations import ServeCrossIterations
from detectors.layers.cross_iteration import CrossIterationNorm


class Data(LightningDataModule):
    def canvases(self) -> set[tuple[int, int]]:
        return {(8, 8)}

    def train_dataloader(self) -> DataLoader:
        draw = torch.Generator().manual_seed(0)
        return DataLoader([torch.randn(3, 8, 8, generator=draw) for _ in range(8)], batch_size=2)


class Bytes(nn.Module):
    """A network of images in 0..255."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 4, 3, bias=False), CrossIterationNorm(4), nn.ReLU(), nn.Conv2d(4, 1, 3)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.body(images.float())


class Network(LightningModule):
    def __init__(self, compiled: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.detector, self.compiled = Bytes(), compiled

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.detector(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)


def fit(folder: Path, module: Network, resume: Path | None = None) -> Network:
    kept = ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[ServeCrossIterations(), kept],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=Data(), ckpt_path=resume, weights_only=True)
    return module


def test_a_resumed_run_goes_on_exactly(tmp_path: Path) -> None:
    whole = fit(tmp_path, Network())
    resumed = fit(tmp_path / "rest", Network(), tmp_path / "step=4.ckpt")
    norm = whole.detector.body[1]
    assert len(norm.past) == norm.window - 1
    end = resumed.state_dict()
    assert all(torch.equal(value, end[name]) for name, value in whole.state_dict().items())


def test_a_compiled_loss_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="compile=false"):
        fit(tmp_path, Network(compiled=True))
