"""`detectors pretrain` on single-object crops of generated scenes."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from omegaconf import DictConfig

import detectors as package
from detectors.commands.pretrain import assemble
from detectors.config.compose import compose
from tests.classification.labelled_pictures import CLASSES, write_crops

WORDS = [
    "backbone=darknet19_thin",
    "norm=batch",
    f"data.num_classes={CLASSES}",
    "data.batch_size=16",
    "data.num_workers=0",
    "image_size=32",
    "finish.size=40",
    "finish.epochs=1",
    "finish.lr=0.001",
    "optimizer=adamw",
    "optimizer.lr=0.003",
    "schedule=constant",
    "warmup.length=0",
    "label_smoothing=0.1",
    "cutmix.probability=0.2",
    "trainer.max_epochs=2",
    "trainer.num_sanity_val_steps=0",
    "device=cpu",
    "precision=32-true",
]


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return [*WORDS, f"data.root={write_crops(tmp_path_factory.mktemp('crops'), train=320)}"]


@pytest.fixture(scope="module")
def run(
    detectors: Callable[..., None], words: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Run folder of two epochs, the second one larger."""
    here = tmp_path_factory.mktemp("pretrained")
    detectors(here, "pretrain", *words, "hydra.run.dir=runs/first")
    return here / "runs" / "first"


def stored(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "backbone.pt", weights_only=True)


def rows(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_two_epochs_learn_and_leave_all_behind(run: Path) -> None:
    files = {file.relative_to(run).as_posix() for file in run.rglob("*") if file.is_file()}
    expected = "config.yaml overrides.txt environment.json log.txt metrics.csv metrics.json"
    assert set(f"{expected} curves.png checkpoints/last.ckpt backbone.pt".split()) <= files
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["val/top1"] > 0.5  # chance is a quarter
    assert metrics["val/top5"] == 1.0  # of four classes
    assert [row["epoch"] for row in rows(run)] == ["0", "1"]
    assert float(rows(run)[-1]["val/top1"]) == pytest.approx(metrics["val/top1"])


def test_a_detector_gets_exactly_the_weights_of_the_file(run: Path) -> None:
    words = ["backbone=darknet19_thin", "norm=batch"]
    file = f"part.backbone.weights={run / 'backbone.pt'}"
    plain = package.build("yolov2", words, num_classes=3).backbone.state_dict()
    filled = package.build("yolov2", [*words, file], num_classes=3).backbone.state_dict()
    assert stored(run).keys() == filled.keys()
    assert all(torch.equal(filled[name], value) for name, value in stored(run).items())
    assert not torch.equal(plain["stages.0.0.conv.weight"], filled["stages.0.0.conv.weight"])


def test_a_detector_trained_from_it_is_evaluated_without_it(
    detectors: Callable[..., None], run: Path, tmp_path: Path
) -> None:
    file = tmp_path / "backbone.pt"
    file.write_bytes((run / "backbone.pt").read_bytes())
    words = ["model=yolov2", "backbone=darknet19_thin", "norm=batch", "image_size=64"]
    words += ["trainer=smoke", "data.batch_size=2", "data.num_workers=0", "device=cpu"]
    words += [f"part.backbone.weights={file}", "hydra.run.dir=runs/fine", "~callback.pictures"]
    detectors(tmp_path, "train", *words)
    file.unlink()
    words = ["device=cpu", "trainer.limit_val_batches=1", "hydra.run.dir=runs/again"]
    detectors(tmp_path, "evaluate", "ckpt_path=runs/fine/checkpoints/last.ckpt", *words)
    assert (tmp_path / "runs" / "again" / "metrics.json").is_file()


class Watch(Callback):
    """Sizes of the batches and learning rates that were used, epoch by epoch."""

    def __init__(self) -> None:
        self.train: dict[int, set] = {}
        self.val: dict[int, set] = {}
        self.rates: dict[int, set] = {}

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch, index) -> None:
        epoch, rate = trainer.current_epoch, trainer.optimizers[0].param_groups[0]["lr"]
        self.train.setdefault(epoch, set()).add(tuple(batch.images.shape[2:]))
        self.rates.setdefault(epoch, set()).add(round(rate, 9))

    def on_validation_batch_start(
        self, trainer: Trainer, module: LightningModule, batch, index, loader=0
    ) -> None:
        self.val.setdefault(trainer.current_epoch, set()).add(tuple(batch.images.shape[2:]))


class StopAfterOneEpoch(Callback):
    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        trainer.should_stop = True


def fitted(cfg: DictConfig, *callbacks: Callback, resume: Path | None = None) -> dict:
    """Weights of the backbone in the end."""
    module, data, trainer = assemble(cfg)
    trainer.callbacks[:0] = callbacks
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
    return module.classifier.backbone.state_dict()


def test_a_stopped_run_goes_on_into_its_finish_as_if_it_never_stopped(
    words: list[str], run: Path, tmp_path: Path
) -> None:
    cfg = compose([*words, f"run_dir={tmp_path}"], "pretrain")
    fitted(cfg, StopAfterOneEpoch())
    watch = Watch()
    found = fitted(cfg, watch, resume=tmp_path / "checkpoints" / "last.ckpt")
    assert watch.train == {1: {(40, 40)}}
    assert all(torch.equal(found[name], value) for name, value in stored(run).items())


def test_workers_change_nothing_and_the_finish_changes_size_and_rate(
    words: list[str], run: Path, tmp_path: Path
) -> None:
    watch = Watch()
    cfg = compose([*words, "data.num_workers=2", f"run_dir={tmp_path}"], "pretrain")
    found = fitted(cfg, watch)
    assert watch.train == watch.val == {0: {(32, 32)}, 1: {(40, 40)}}
    assert watch.rates == {0: {0.003}, 1: {0.001}}
    assert all(torch.equal(found[name], value) for name, value in stored(run).items())


def test_averaged_weights_are_what_is_written(
    detectors: Callable[..., None], words: list[str], tmp_path: Path
) -> None:
    """Of a run without finish and CutMix."""
    given = [word for word in words if not word.startswith(("finish.", "cutmix."))]
    more = ["finish=null", "cutmix=null", "trick=[ema]", "trainer.limit_train_batches=2"]
    detectors(tmp_path, "pretrain", *given, *more, "hydra.run.dir=out")
    checkpoint = torch.load(tmp_path / "out" / "checkpoints" / "last.ckpt", weights_only=True)
    state, prefix = checkpoint["state_dict"], "classifier.backbone."
    for name, value in stored(tmp_path / "out").items():
        assert torch.equal(state[prefix + name], value)


@pytest.mark.parametrize(
    ("command", "word", "told"),
    [
        ("pretrain", "data=scenes_easy", "data=scenes_easy: boxes, not a class for each picture"),
        ("train", "data=imagefolder", "data=imagefolder: a class for each picture, no boxes"),
        ("pretrain", "finish.epochs=170", "finish.epochs=170 are the last of trainer.max_epochs=2"),
        ("pretrain", "label_smoothing=1", "label_smoothing in [0, 1), found 1"),
        (
            "pretrain",
            "cutmix.probability=2",
            "cutmix.probability: found 2, expected a number",
        ),
        ("pretrain", "neck=fpn", "neck"),
        ("pretrain", "data.num_classes=5", "has 4 classes, but data.num_classes is 5"),
    ],
)
def test_what_cannot_work_is_refused(
    detectors: Callable[..., None],
    words: list[str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture,
    command: str,
    word: str,
    told: str,
) -> None:
    given = words if command == "pretrain" else ["device=cpu"]
    given = [w for w in given if not (word.startswith("data=") and w.startswith("data."))]
    with pytest.raises(SystemExit) as stop:
        detectors(tmp_path, command, *given, word, "hydra.run.dir=out")
    assert told in capfd.readouterr().err + str(stop.value)


def test_a_classifier_is_not_evaluated_as_a_detector(
    detectors: Callable[..., None], run: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit):
        detectors(run.parents[1], "evaluate", "ckpt_path=last", "device=cpu")
    assert "a classifier of `detectors pretrain`" in capsys.readouterr().err
