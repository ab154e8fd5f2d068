"""Runs continue, stop and resume as expected, with a fake detector on real loaders."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from detectors.callbacks.ema import EMA
from detectors.callbacks.table import EpochTable
from detectors.clock import optimizer_steps
from detectors.data.augment.transforms import HorizontalFlip, Letterbox
from detectors.data.module import DetectionData
from detectors.layers.dropping import DropBlock
from detectors.module import LitData, LitDetector, step_seed
from detectors.structures import Annotations, Detections, Targets

IMAGES, BATCH, STEPS = 12, 2, 6  # an epoch has 6 steps


class Noise:
    """Pictures of noise with one box each."""

    def __init__(self) -> None:
        ones, zeros = np.ones(IMAGES), np.zeros(IMAGES, bool)
        self.annotations = Annotations(
            image_ids=np.arange(IMAGES),
            sizes=np.full((IMAGES, 2), 16),
            offsets=np.arange(IMAGES + 1),
            boxes=np.tile([2.0, 2.0, 10.0, 10.0], (IMAGES, 1)),
            labels=np.zeros(IMAGES, np.int64),
            crowd=zeros,
            difficult=zeros,
            areas=64 * ones,
            classes=("thing",),
            category_ids=(7,),
        )

    def __len__(self) -> int:
        return IMAGES

    def image(self, index: int) -> np.ndarray:
        return np.random.default_rng(index).integers(0, 256, (16, 16, 3), np.uint8)


class FakeDetector(nn.Module):
    """Two layers, batch statistics and dropout: all that a resumed run could get wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.last = nn.Linear(4, 1)

    def loss(self, images: Tensor, targets: Targets, frames: Tensor) -> dict[str, Tensor]:
        features = self.drop(self.norm(self.conv(images.float() / 255)).relu())
        found = self.last(features.mean(dim=(2, 3)))
        return {"class": found.square().mean(), "box": (found - 1).abs().mean()}

    def forward(self, images: Tensor, frames: Tensor) -> Detections:
        score = self.last(self.norm(self.conv(images.float() / 255)).mean(dim=(2, 3))).sigmoid()
        boxes = torch.tensor([2.0, 2.0, 10.0, 10.0]).expand(len(images), 1, 4)
        return Detections(boxes, score, score.long(), torch.ones_like(score, dtype=torch.bool))


def adam(detector: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(detector.parameters(), lr=0.01)


def falling(optimizer: torch.optim.Optimizer, total: int) -> torch.optim.lr_scheduler.LambdaLR:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / total)


def new_data(workers: int = 0) -> DetectionData:
    augment = {"flip": HorizontalFlip(0.5)}
    return DetectionData(
        Noise, Noise, 1, Letterbox(16), augment=augment, batch_size=BATCH, num_workers=workers
    )


def new_module() -> LitDetector:
    torch.manual_seed(0)
    return LitDetector(FakeDetector(), adam, falling, seed=3, config={"model": {}})  # type: ignore[arg-type]


class Stop(Callback):
    """Kills the run after so many batches, or at an epoch's end where that is None."""

    def __init__(self, batches: int) -> None:
        self.batches = batches

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, *_: object
    ) -> None:
        if trainer.global_step == self.batches:
            raise KeyboardInterrupt


def fit(
    folder: Path,
    callbacks: Sequence[Callback] = (),
    resume: Path | None = None,
    workers: int = 0,
    **settings: object,
) -> LitDetector:
    module = new_module()
    options = {"max_epochs": 3, "num_sanity_val_steps": 1, "logger": False, **settings}
    trainer = Trainer(
        accelerator="cpu",
        callbacks=list(callbacks),
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        **options,  # type: ignore[arg-type]
    )
    trainer.fit(module, datamodule=LitData(new_data(workers)), ckpt_path=resume, weights_only=True)
    return module


class Begun(Callback):
    """Whether the training's workers were there before the first look at the validation split."""

    found: bool | None = None

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.found = trainer.datamodule.train_dataloader()._ahead is not None  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [0, 1])
def test_workers_start_while_the_run_is_made_ready(tmp_path: Path, workers: int) -> None:
    looking = Begun()
    fit(tmp_path, [looking], workers=workers, max_epochs=1, enable_checkpointing=False)
    assert looking.found == bool(workers)


def kept(folder: Path, **when: object) -> ModelCheckpoint:
    return ModelCheckpoint(folder, "{step}", save_top_k=-1, **when)  # type: ignore[arg-type]


def same(a: LitDetector, b: LitDetector) -> bool:
    return all(torch.equal(x, b.state_dict()[name]) for name, x in a.state_dict().items())


@pytest.mark.parametrize("averaged", [False, True])
@pytest.mark.parametrize(
    ("when", "step"),
    [
        ({"every_n_train_steps": 4}, 4),  # within an epoch
        ({"every_n_train_steps": 4}, 8),
        ({"every_n_epochs": 1, "save_on_train_epoch_end": True}, 6),
        ({"every_n_epochs": 1, "save_on_train_epoch_end": False}, 6),  # within the validation
    ],
)
def test_resumed_run_equals_one_that_never_stopped(
    tmp_path: Path, when: dict, step: int, averaged: bool
) -> None:
    def extra() -> list[Callback]:
        return [EMA(decay=0.9)] if averaged else []

    whole = fit(tmp_path / "whole", [*extra(), kept(tmp_path, **when)])
    resumed = fit(tmp_path / "rest", extra(), resume=tmp_path / f"step={step}.ckpt")
    assert same(whole, resumed)


def test_killed_run_with_workers_and_accumulation_resumes_exactly(tmp_path: Path) -> None:
    settings = {"accumulate_grad_batches": 2, "workers": 1, "gradient_clip_val": 1.0}
    whole = fit(tmp_path / "whole", **settings)  # type: ignore[arg-type]
    saving = kept(tmp_path, every_n_train_steps=1)
    with pytest.raises(SystemExit):
        fit(tmp_path / "killed", [saving, Stop(5)], **settings)  # type: ignore[arg-type]
    resumed = fit(tmp_path / "rest", resume=tmp_path / "step=4.ckpt", **settings)  # type: ignore[arg-type]
    assert same(whole, resumed)


def test_average_is_what_is_saved_and_left_behind(tmp_path: Path) -> None:
    module = fit(tmp_path, [EMA(decay=0.9), kept(tmp_path, every_n_epochs=1)])
    saved = torch.load(tmp_path / "step=18.ckpt", weights_only=True)
    assert all(torch.equal(saved["state_dict"][n], v) for n, v in module.state_dict().items())
    assert not torch.equal(
        saved["state_dict"]["detector.last.weight"],
        saved["current_model_state"]["detector.last.weight"],
    )
    assert saved["averaging_state"]["n_averaged"] == 18


def test_checkpoint_holds_what_rebuilds_the_model(tmp_path: Path) -> None:
    fit(tmp_path, [kept(tmp_path, every_n_epochs=1)], max_epochs=1)
    saved = torch.load(tmp_path / "step=6.ckpt", weights_only=True)
    assert saved["config"] == {"model": {}}
    assert saved["classes"] == ["thing"]
    assert saved["category_ids"] == [7]


def test_resumed_run_has_the_whole_table(tmp_path: Path) -> None:
    saving = kept(tmp_path, every_n_epochs=1, save_on_train_epoch_end=True)
    for folder in ("whole", "rest"):
        (tmp_path / folder).mkdir()
    fit(tmp_path, [EpochTable(str(tmp_path / "whole")), saving])
    resume = tmp_path / "step=6.ckpt"
    fit(tmp_path, [EpochTable(str(tmp_path / "rest"))], resume=resume)
    whole, rest = ((tmp_path / f / "metrics.csv").read_text() for f in ("whole", "rest"))
    assert whole == rest
    assert (tmp_path / "rest" / "curves.png").is_file()


def test_metrics_and_losses_are_logged_by_name(tmp_path: Path) -> None:
    module = fit(tmp_path, max_epochs=1)
    logged = module.trainer.callback_metrics
    assert {"train/loss", "train/class", "train/box", "train/lr", "val/AP"} <= set(logged)
    torch.testing.assert_close(logged["train/loss"], logged["train/class"] + logged["train/box"])
    assert logged["val/AP"] == 1  # the fake knows the box


def test_metrics_of_ones_own_are_logged_by_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = {"mine": lambda truth, found: {"found": float(len(found.scores))}}
    make = partial(LitDetector, FakeDetector(), adam, falling, metrics=metrics)  # type: ignore[arg-type]
    monkeypatch.setitem(globals(), "new_module", make)
    logged = fit(tmp_path, max_epochs=1).trainer.callback_metrics
    assert {name for name in logged if name.startswith("val/")} == {"val/found"}
    assert logged["val/found"] == IMAGES


class Missing(nn.Module):
    """Asks a detector and looks beside what it finds."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor, frames: Tensor) -> Detections:
        found = self.detector(images, frames)
        return found._replace(boxes=found.boxes + 100)


def test_what_stands_for_the_detector_is_evaluated_and_no_part_of_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = new_module()
    names = list(module.state_dict())
    module.tta = Missing
    monkeypatch.setitem(globals(), "new_module", lambda: module)
    fit(tmp_path, [EMA(decay=0.9)], max_epochs=1)
    assert module.trainer.callback_metrics["val/AP"] == 0
    assert list(module.state_dict()) == names


def test_parts_are_told_the_time_whatever_callbacks_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = new_module()
    module.detector.dropped = DropBlock(4)  # type: ignore[assignment]
    monkeypatch.setitem(globals(), "new_module", lambda: module)
    fit(tmp_path, [], max_epochs=1)
    assert float(module.detector.dropped.done) == pytest.approx(5 / 6)  # before the last step


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        ({"max_epochs": 3}, 18),
        ({"max_epochs": 3, "accumulate_grad_batches": 4}, 6),
        ({"max_epochs": 3, "limit_train_batches": 0.5}, 9),
        ({"max_epochs": 3, "limit_train_batches": 2}, 6),
        ({"max_steps": 5}, 5),
        ({"max_epochs": 1, "max_steps": 50}, 6),
    ],
)
def test_schedule_is_told_the_steps_that_are_made(
    tmp_path: Path, settings: dict, steps: int
) -> None:
    module = fit(tmp_path, **{"max_epochs": -1, **settings})
    assert module.trainer.global_step == steps
    assert optimizer_steps(module.trainer) == steps


def test_step_seeds_differ_in_every_coordinate() -> None:
    seeds = [step_seed(*key) for key in np.ndindex(3, 3, 3, 3)]
    assert len(set(seeds)) == 81


def test_layout_changes_no_loss(tmp_path: Path) -> None:
    losses = []
    for channels_last in (False, True):
        detector = FakeDetector()
        detector.load_state_dict(new_module().detector.state_dict())
        make = partial(LitDetector, detector, adam, falling, channels_last=channels_last)  # type: ignore[arg-type]
        module = make()
        loader = new_data().val_dataloader()
        batch = next(iter(loader))
        images = batch.images.contiguous(memory_format=module.memory_format)
        torch.manual_seed(0)
        losses.append(detector.eval().loss(images, batch.targets, batch.frames)["box"])
    torch.testing.assert_close(losses[0], losses[1])
