"""The clock shows the images seen, in a resumed run and on several processes too."""

from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader

from detectors.callbacks.images_seen import SetImagesSeen
from detectors.layers.progress import ImagesSeen

BATCH, STEPS = 3, 4  # of an epoch


class Images(NamedTuple):
    images: Tensor


class Recording(LightningModule):
    """Writes down what its clock shows in each step."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.seen, self.shown = ImagesSeen(), []

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        self.shown.append(int(self.seen.count))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def _kept(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)


def _fit(folder: Path, resume: Path | None = None) -> list[int]:
    module = Recording()
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=3,
        accumulate_grad_batches=2,
        callbacks=[SetImagesSeen(), _kept(folder)],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    data = [Images(torch.zeros(1)) for _ in range(BATCH * STEPS)]
    trainer.fit(module, DataLoader(data, BATCH), ckpt_path=resume)
    return module.shown


def test_images_are_counted_with_those_of_the_step_and_in_a_resumed_run(tmp_path: Path) -> None:
    whole = _fit(tmp_path)
    assert whole == [BATCH * (step + 1) for step in range(3 * STEPS)]
    assert _fit(tmp_path / "epoch", tmp_path / "step=4.ckpt") == whole[2 * STEPS :]
    assert _fit(tmp_path / "within", tmp_path / "step=3.ckpt") == whole[6:]


def test_all_processes_count() -> None:
    trainer = SimpleNamespace(fit_loop=SimpleNamespace(total_batch_idx=9), world_size=4)
    module = Recording()
    SetImagesSeen().on_train_batch_start(trainer, module, Images(torch.zeros(8)), 0)  # type: ignore[arg-type]
    assert module.seen.count == 10 * 8 * 4


def test_clock_strikes_once_so_many_images_are_seen() -> None:
    clock = ImagesSeen()
    shown = []
    for count in (0, 12_799, 12_800):
        clock.count.fill_(count)
        shown.append(float(clock.before(12_800)))
    assert shown == [1, 1, 0]
    assert not clock.state_dict()
