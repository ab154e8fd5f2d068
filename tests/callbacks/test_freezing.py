"""A backbone is frozen at the start of whole and of resumed runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from detectors.callbacks.freezing import FreezeBackbone

STEPS = 4  # of an epoch, two batches each


class Data(LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        draw = torch.Generator().manual_seed(0)
        return DataLoader([torch.randn(3, 6, 6, generator=draw) for _ in range(8)], batch_size=1)


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.backbone = nn.Sequential(first, nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)))
        self.head = nn.Conv2d(4, 1, 1)


class Recording(LightningModule):
    """Writes down what its backbone is, after each step of the optimiser."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.detector = Parts()
        self.states: list[dict[str, Tensor]] = []

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        torch.manual_seed(batch_idx + 100 * self.current_epoch)
        return self.detector.head(self.detector.backbone(batch)).square().mean()

    def on_train_batch_end(self, *_: object) -> None:
        state = self.detector.state_dict()
        self.states.append({name: value.clone() for name, value in state.items()})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1)


def fit(
    folder: Path, callback: FreezeBackbone, resume: Path | None = None, epochs: int = 2
) -> Recording:
    module = Recording()
    kept = ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        accumulate_grad_batches=2,
        gradient_clip_val=1.0,
        callbacks=[callback, kept],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, datamodule=Data(), ckpt_path=resume)
    return module


def moved(module: Recording, prefix: str) -> list[bool]:
    """Whether anything of that name is another after a batch than after the first."""
    first = module.states[0]
    names = [name for name in first if name.startswith(prefix)]
    return [any(not torch.equal(s[n], first[n]) for n in names) for s in module.states]


def test_weights_decay_and_statistics_stay_until_the_step_and_not_after(tmp_path: Path) -> None:
    module = fit(tmp_path, FreezeBackbone(until=0.5))  # of 8 steps, 16 batches
    plain = Recording().detector.backbone.state_dict()
    frozen = module.states[7]
    assert all(torch.equal(frozen[f"backbone.{n}"], v) for n, v in plain.items())
    assert moved(module, "head")[1:] == [True] * 15
    assert moved(module, "backbone") == [False] * 8 + [True] * 8
    assert all(part.training for part in module.detector.backbone.modules())


def test_first_stages_may_be_frozen_for_all_of_the_run(tmp_path: Path) -> None:
    module = fit(tmp_path, FreezeBackbone(stages=1))
    assert not any(moved(module, "backbone.0"))
    assert moved(module, "backbone.1")[-1]


@pytest.mark.parametrize("step", [4, 8])
def test_a_resumed_run_goes_on_exactly(tmp_path: Path, step: int) -> None:
    whole = fit(tmp_path, FreezeBackbone(until=6), epochs=3)
    file = tmp_path / f"step={step}.ckpt"
    resumed = fit(tmp_path / "rest", FreezeBackbone(until=6), file, epochs=3)
    assert all(torch.equal(v, resumed.states[-1][n]) for n, v in whole.states[-1].items())


def test_what_means_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="until > 0"):
        FreezeBackbone(until=0)
    with pytest.raises(ValueError, match="stages=3, but this backbone has 2"):
        fit(tmp_path, FreezeBackbone(stages=3))
    callback: Any = FreezeBackbone()
    module = Recording()
    module.detector.backbone.requires_grad_(False)
    with pytest.raises(ValueError, match="nothing in these stages learns"):
        callback.on_train_start(None, module)
