"""Trackers are told what a run is and what it found, and keep one run of theirs for one of ours."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lightning.pytorch.loggers import TensorBoardLogger, WandbLogger
from PIL import Image

from detectors.callbacks import trackers
from detectors.callbacks.steps import StepsTable
from detectors.config.compose import compose
from detectors.engine.trainer import finish
from detectors.studies import tracking
from detectors.studies.design import Cell
from detectors.studies.keys import resolved, run_key

FACTS: dict[str, Any] = {
    "words": ["model=fcos", "+trainer.a=1", "optimizer.lr=0.01", "logger=[csv]", "~callback.table"],
    "key": "0" * 16,
    "model": "fcos",
    "tricks": ["ema", "mish"],
    "seed": 3,
    "select": "last",
    "split": "val",
    "batch_size": 2,
    "image_size": [96, 96],
    "max_epochs": 1,
    "precision": "32-true",
    "steps": 7,
}
OF_STUDY = tracking.named("mine", Cell("plain", 3, (), "0" * 16))


@pytest.fixture
def of_study(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process trains a run of a study."""
    for name, value in OF_STUDY.items():
        monkeypatch.setenv(name, value)


def test_hyperparameters_are_the_words_and_what_they_come_to() -> None:
    found = trackers.hyperparameters(FACTS)
    assert found["optimizer.lr"] == "0.01"
    assert found["trainer.a"] == "1"
    assert (found["seed"], found["tricks"]) == (3, ["ema", "mish"])
    assert {"logger", "callback.table", "steps"}.isdisjoint(found)


@pytest.mark.usefixtures("of_study")
def test_the_loggers_of_a_run_know_its_study_and_it_keeps_its_key() -> None:
    words = ["model=yolov3_tiny", "size=small", "data=scenes_easy"]
    cfg = compose([*words, "logger=[csv,wandb,mlflow,tensorboard]", "run_dir=x"])
    assert (cfg.logger.wandb.group, cfg.logger.wandb.name) == ("mine", "plain/3")
    assert cfg.logger.mlflow.run_name == "plain/3"
    assert run_key(resolved(cfg), "") == run_key(resolved(compose(words)), "")


@pytest.mark.usefixtures("of_study")
def test_tags_are_study_variant_model_and_tricks() -> None:
    tags = trackers._tags(FACTS)
    assert tags == {
        "study": "mine",
        "variant": "plain",
        "model": "fcos",
        "tricks": ["ema", "mish"],
    }
    assert trackers._plain(tags) == ["mine", "plain", "fcos", "ema", "mish"]


def test_a_run_without_a_study_has_the_other_tags() -> None:
    assert OF_STUDY.keys().isdisjoint(os.environ)
    assert trackers._plain(trackers._tags(FACTS)) == ["fcos", "ema", "mish"]


def test_tensorboard_shows_hyperparameters_beside_the_measured_value(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    logger = TensorBoardLogger(str(tmp_path), "tensorboard", default_hp_metric=False)
    trackers.announce([logger], tmp_path, FACTS)
    trackers.conclude([logger], FACTS, {"test/AP": 0.5, "test/AP50": 0.75}, "val/AP")
    logger.finalize("finished")
    events = EventAccumulator(logger.log_dir).Reload()
    (value,) = events.Scalars("measured/AP")
    assert (value.value, value.step) == (0.5, 7)
    content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    told = HParamsPluginData.FromString(content).session_start_info.hparams
    assert told["optimizer.lr"].string_value == "0.01"
    assert told["tricks"].string_value == "ema, mish"
    assert told["seed"].number_value == 3
    assert not (tmp_path / trackers.FILE).exists()


def test_tensorboard_gets_pictures_by_their_steps(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(str(tmp_path), "tensorboard", default_hp_metric=False)
    for step in (3, 6):
        trackers.show([logger], "detections/0", Image.new("RGB", (20, 10)), step)
    logger.finalize("finished")
    images = EventAccumulator(logger.log_dir).Reload().Images("detections/0")
    assert [(image.step, image.width, image.height) for image in images] == [
        (3, 20, 10),
        (6, 20, 10),
    ]


def test_tables_take_no_pictures(tmp_path: Path) -> None:
    table = StepsTable(str(tmp_path))
    assert not trackers.shown_by([table])
    trackers.show([table], "detections/0", Image.new("RGB", (20, 10)), 3)
    assert not any(tmp_path.iterdir())


class Wandb(WandbLogger):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told = SimpleNamespace(tags=("nightly", "ema"), id="abc123")
        self.params: dict[str, Any] = {}
        self.pictures: list[tuple[str, int, Any]] = []

    def log_image(self, key: str, images: list[Any], step: int | None = None, **_: Any) -> None:
        self.pictures.append((key, len(images), step))

    @property
    def experiment(self) -> Any:
        return self.told

    def log_hyperparams(self, params: Any) -> None:
        self.params = params


def test_wandb_keeps_the_tags_of_the_user(tmp_path: Path) -> None:
    logger = Wandb()
    trackers.announce([logger], tmp_path, {**FACTS, "tricks": ["ema", "x" * 80]})
    assert logger.told.tags == ("nightly", "ema", "fcos", "x" * 64)
    assert logger.params["seed"] == 3
    assert trackers.known_ids(tmp_path) == {"wandb": "abc123", "mlflow": None}


def test_wandb_gets_pictures() -> None:
    logger = Wandb()
    trackers.show([logger], "detections/1", Image.new("RGB", (20, 10)), 7)
    assert logger.pictures == [("detections/1", 1, 7)]


def test_a_resumed_run_keeps_the_id_of_its_tracker(tmp_path: Path) -> None:
    (tmp_path / trackers.FILE).write_text(json.dumps({"wandb": "abc123"}))
    assert trackers.wandb(str(tmp_path), "last").version == "abc123"
    assert trackers.wandb(str(tmp_path), None).version is None
    assert trackers.wandb(str(tmp_path / "other"), "last").version is None


def test_a_failed_run_is_told_as_failed() -> None:
    told: list[str] = []
    trainer: Any = SimpleNamespace(loggers=[SimpleNamespace(finalize=told.append)])
    finish(trainer)
    try:
        raise FloatingPointError
    except FloatingPointError:
        finish(trainer)
    assert told == ["finished", "failed"]


def test_mlflow_that_is_not_installed_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: None if name == "alembic" else name)
    with pytest.raises(ValueError, match=r"mlflow needs alembic: pip install '.*\[mlflow\]'"):
        trackers.mlflow(str(tmp_path))


def test_what_the_user_names_is_where_mlflow_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "find_spec", lambda name: name)
    assert tracking.mlflow_place(tmp_path, "sqlite:///a.db") == ("sqlite:///a.db", None)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///b.db")
    assert tracking.mlflow_place(tmp_path, None) == ("sqlite:///b.db", None)
    assert not any(tmp_path.iterdir())


LOGGED = """
import json, sys
from pathlib import Path
from detectors.callbacks import trackers
from detectors.callbacks.steps import StepsTable
folder, facts, *resumed = sys.argv[1:]
Path(folder).mkdir(parents=True, exist_ok=True)
logger = trackers.mlflow(folder, *resumed, experiment_name="detectors", run_name="plain/3")
trackers.announce([logger], Path(folder), json.loads(facts))
trackers.conclude([logger], json.loads(facts), {"val/AP": 0.5}, "val/AP")
logger.finalize("finished")
"""


@pytest.mark.slow
def test_mlflow_has_one_run_for_each_of_ours_though_they_begin_at_once(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("alembic")

    def logged(name: str, *resumed: str) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-c", LOGGED, str(tmp_path / name), json.dumps(FACTS), *resumed]
        return subprocess.Popen(command, env={**os.environ, **OF_STUDY})

    assert [process.wait() for process in [logged("a"), logged("b")]] == [0, 0]
    assert logged("a", "last").wait() == 0
    client = mlflow.MlflowClient(tracking.mlflow_place(tmp_path, None)[0])
    (experiment,) = [e for e in client.search_experiments() if e.name == "detectors"]
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 2
    for run in runs:
        assert (run.info.run_name, run.info.status) == ("plain/3", "FINISHED")
        assert run.data.tags.items() >= {"study": "mine", "tricks": "ema, mish"}.items()
        assert run.data.params["optimizer.lr"] == "0.01"
        assert run.data.metrics == {"measured/AP": 0.5}
