"""What parts are told about a run, in whole runs and in resumed ones."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from detectors.callbacks.several_devices import SeveralDevices
from detectors.clock import Clock, class_counts
from detectors.layers.cross_iteration import CrossIterationNorm
from detectors.layers.norm import CrossMiniBatchNorm
from detectors.layers.progress import Counting, Timed
from detectors.structures import Progress

BATCH, STEPS = 3, 5  # mini-batches of an epoch, two for each step of the optimiser
OBJECTS = SimpleNamespace(
    labels=np.array([0, 0, 0, 2, 2, 0]),
    crowd=np.array([False, False, False, False, False, True]),
    difficult=np.array([False, False, True, False, False, False]),
    classes=("a", "b", "c"),
)


class Images(NamedTuple):
    images: Tensor


class Data(LightningDataModule):
    def train_dataloader(self) -> DataLoader:
        draw = torch.Generator().manual_seed(0)
        images = [Images(torch.randn(3, 8, 8, generator=draw)) for _ in range(BATCH * STEPS)]
        return DataLoader(images, BATCH)

    def annotations(self, split: str) -> Any:
        return {"train": OBJECTS}[split]


class Recording(Timed, Counting):
    """Writes down what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Progress] = []
        self.objects: list[list[int]] = []

    def begin(self, progress: Progress) -> None:
        self.heard.append(progress)

    def count(self, objects: Tensor) -> None:
        self.objects.append(objects.tolist())


class Network(LightningModule):
    """Brings the clock, as every module of ours does, for one part or another."""

    def __init__(self, norm: nn.Module, compiled: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norm, nn.Conv2d(4, 1, 3))
        self.part = Recording()
        self.clock = Clock(compiled)

    def configure_callbacks(self) -> list[Callback]:
        return [self.clock]

    def training_step(self, batch: Images, batch_idx: int) -> Tensor:
        return self.body(batch.images).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1, momentum=0.9)


def fit(folder: Path, module: Network, resume: Path | None = None, **settings: Any) -> Network:
    kept = ModelCheckpoint(folder, "{step}", save_top_k=-1, every_n_train_steps=1)
    options = {"accumulate_grad_batches": 2, "max_epochs": 2, **settings}
    trainer = Trainer(
        accelerator="cpu",
        callbacks=[kept],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    trainer.fit(module, datamodule=Data(), ckpt_path=resume, weights_only=True)
    return module


def test_progress_by_hand_in_whole_runs_and_in_resumed_ones(tmp_path: Path) -> None:
    whole = fit(tmp_path, Network(nn.BatchNorm2d(4))).part.heard
    steps = [0, 0, 1, 1, 2, 3, 3, 4, 4, 5]
    # The fifth mini-batch of an epoch is a batch of its own.
    places = 2 * [(0, 2), (1, 2), (0, 2), (1, 2), (0, 1)]
    assert whole == [
        Progress(BATCH * (k + 1), step, 6, k // STEPS, 2, *place)
        for k, (step, place) in enumerate(zip(steps, places, strict=True))
    ]
    for step, batches in ((2, 4), (3, 5)):  # within an epoch, and at its end
        rest = fit(tmp_path / str(step), Network(nn.BatchNorm2d(4)), tmp_path / f"step={step}.ckpt")
        assert rest.part.heard == whole[batches:]


def test_steps_alone_may_end_the_run(tmp_path: Path) -> None:
    module = fit(tmp_path, Network(nn.BatchNorm2d(4)), max_epochs=-1, max_steps=4)
    assert {(told.steps, told.epochs) for told in module.part.heard} == {(4, 2)}


def test_all_processes_count() -> None:
    module, loop = Network(nn.BatchNorm2d(4)), SimpleNamespace(total_batch_idx=9)
    trainer: Any = SimpleNamespace(
        fit_loop=loop,
        world_size=4,
        accumulate_grad_batches=1,
        num_training_batches=20,
        global_step=9,
        current_epoch=0,
    )
    module.clock.steps = 20
    module.clock.on_train_batch_start(trainer, module, Images(torch.zeros(8)), 9)
    assert module.part.heard[0].images_seen == 10 * 8 * 4


def test_objects_of_the_training_split_are_counted_but_for_ignored_ones(tmp_path: Path) -> None:
    annotations: Any = OBJECTS
    assert class_counts(annotations).tolist() == [2, 0, 2]
    assert fit(tmp_path, Network(nn.BatchNorm2d(4))).part.objects == [[2, 0, 2]]


def test_norms_that_look_back_go_on_exactly_where_a_run_stopped(tmp_path: Path) -> None:
    norms = {"cbn": CrossIterationNorm(4), "again": CrossIterationNorm(4)}
    whole = fit(tmp_path, Network(norms["cbn"]))
    assert len(norms["cbn"].past) == norms["cbn"].window - 1
    resumed = fit(tmp_path / "rest", Network(norms["again"]), tmp_path / "step=3.ckpt")
    end = resumed.state_dict()
    assert all(torch.equal(value, end[name]) for name, value in whole.state_dict().items())


def test_what_means_nothing_or_does_not_work_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"accumulate_grad_batches=1 .* norm=batch"):
        fit(tmp_path, Network(CrossMiniBatchNorm(4)), accumulate_grad_batches=1)
    with pytest.raises(ValueError, match="compile=false"):
        fit(tmp_path, Network(CrossIterationNorm(4), compiled=True))
    alone: Any = SimpleNamespace(num_devices=1, num_nodes=1)
    with pytest.raises(ValueError, match=r"sync_bn .* one.*trainer\.devices"):
        SeveralDevices().setup(alone, Network(nn.BatchNorm2d(4)), "fit")
