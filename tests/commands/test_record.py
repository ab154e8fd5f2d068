"""`run.json` says what a run is, how far it is, what it cost and what it found."""

import csv
import hashlib
import itertools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import pytest
import torch
from lightning.pytorch import Trainer
from omegaconf import OmegaConf

from detectors.config.compose import compose
from detectors.engine.latency import LEAST, MOST
from detectors.engine.record import _continued, asked, begin
from detectors.module import LitDetector
from detectors.studies.keys import changed, fingerprint, resolved, run_key, split_hash

Call = Callable[..., None]
WORDS = ["model=yolov3_tiny", "size=small", "image_size=64", "device=cpu", "precision=32-true"]
WORDS += ["data=scenes_easy", "scenes.layout.side=64", "data.train.read.count=6"]
WORDS += ["data.val.count=3", "data.batch_size=2", "data.num_workers=0", "~callback.pictures"]
WORDS += ["trainer.max_epochs=2", "trainer.num_sanity_val_steps=0", "trick=[ema]"]
WORDS += ["data.test=${data.val}"]  # the same pictures


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def weights(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture(scope="module")
def run(detectors: Call, tmp_path_factory: pytest.TempPathFactory) -> Path:
    here = tmp_path_factory.mktemp("record")
    detectors(here, "train", *WORDS, "hydra.run.dir=run")
    return here / "run"


def at_step(count: int, act: Callable[[], object], patch: pytest.MonkeyPatch) -> None:
    """Let something happen before the training step of that number."""
    step, calls = LitDetector.training_step, itertools.count(1)

    def struck(*given: Any, **named: Any) -> Any:
        if next(calls) == count:
            act()
        return step(*given, **named)

    patch.setattr(LitDetector, "training_step", struck)


def test_a_finished_run_tells_all(run: Path) -> None:
    found = record(run)
    fixed = {
        "format": 1,
        "state": "done",
        "reason": None,
        "exit_code": 0,
        "log": None,
        "model": "yolov3_tiny",
        "tricks": ["ema"],
        "seed": 0,
        "split": "val",
        "select": "last",
        "device": "cpu",
        "devices": 1,
        "precision": "32-true",
        "deterministic": False,
        "workers": 0,
        "batch_size": 2,
        "image_size": [64, 64],
        "max_epochs": 2,
        "images_seen": 12,
        "steps": 6,
        "epochs": 2,
        "earlier": [],
        "threads": torch.get_num_threads(),
    }
    assert {key: found[key] for key in fixed} == fixed
    assert found["words"] == WORDS
    assert found["versions"]["torchvision"]
    assert found["device_name"]
    assert found["ended"] >= found["started"]


def test_its_key_is_that_of_its_words(run: Path) -> None:
    config = resolved(compose([*WORDS, "logger=[]"]))
    assert record(run)["key"] == run_key(config, fingerprint(config))
    data = record(run)["data"]
    assert data["fingerprint"] == fingerprint(config)
    assert data["training"] == split_hash(config, "train")
    assert data["measured"] == split_hash(config, "val")


def test_its_numbers_are_those_of_the_other_files(run: Path) -> None:
    found = record(run)
    metrics = json.loads((run / "metrics.json").read_text())
    assert {f"val/{name}": value for name, value in found["metrics"].items()} == metrics
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["val/AP"]) for row in rows]
    assert [found[key]["AP"] for key in ("best", "last")] == [max(scores), scores[-1]]
    assert found["measured_epoch"] == len(scores) - 1
    ids = [image["id"] for image in json.loads((run / "truth.json").read_text())["images"]]
    assert found["data"]["images"] == len(ids) == 3
    sha = hashlib.sha256(json.dumps(sorted(ids)).encode()).hexdigest()
    assert found["data"]["image_ids"] == sha
    last = weights(run)
    learnt = [key for key in last if key.endswith((".weight", ".bias"))]
    assert found["parameters"] == sum(last[key].numel() for key in learnt)


def test_the_last_weights_are_measured_also_where_they_are_averages(run: Path) -> None:
    assert record(run)["metrics"] == record(run)["last"]


def test_its_costs_are_measured(run: Path) -> None:
    found = record(run)
    train, rate = found["train_seconds"], found["images_per_second"]
    assert rate == pytest.approx(12 / train)
    assert train > 0
    assert found["evaluation_seconds"] > 0
    assert found["memory"]["process"] > 50e6
    assert found["memory"]["device"] is None
    assert found["flops"] > 1e6
    latency = found["latency"]
    assert latency["batch"] == 1
    assert LEAST <= latency["repeats"] <= MOST  # what is fast is asked more often
    assert 0 < latency["median_ms"] < 1000 * found["evaluation_seconds"]


def test_its_code_is_what_it_imported(run: Path) -> None:
    code = record(run)["code"]
    assert {"detectors/losses/box.py", "detectors/data/dataset.py", "detectors/optim.py"} <= set(
        code
    )
    assert changed(code) == []


def test_recording_changes_no_result(
    run: Path, detectors: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Nothing:
        content: ClassVar[dict[str, object]] = {"model": "", "tricks": []}
        last: ClassVar[dict[str, float]] = {}

        def finish(self, *_: object) -> None: ...

    monkeypatch.setattr("detectors.engine.record.begin", lambda *_: Nothing())
    detectors(tmp_path, "train", *WORDS, "hydra.run.dir=run")
    assert not (tmp_path / "run/run.json").exists()
    assert same(weights(tmp_path / "run"), weights(run))
    for name in ("metrics.json", "metrics.csv", "detections.json", "truth.json"):
        assert (tmp_path / "run" / name).read_bytes() == (run / name).read_bytes()


def test_a_stopped_run_says_so_and_goes_on_where_it_was(
    run: Path, detectors: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        at_step(4, lambda: os.kill(os.getpid(), signal.SIGTERM), patch)
        with pytest.raises(SystemExit):
            detectors(tmp_path, "train", *WORDS, "hydra.run.dir=run")
    stopped = record(tmp_path / "run")
    assert (stopped["state"], stopped["exit_code"]) == ("stopped", 143)
    assert stopped["reason"].startswith("stopped by SIGTERM, step 4 is saved in ")
    file = tmp_path / "run/run.json"
    file.write_text(json.dumps({**stopped, "threads": 99, "started": "before"}))

    words = ("hydra.run.dir=run", "ckpt_path=last", "select=best", "split=test", "latency=false")
    detectors(tmp_path, "train", *WORDS, *words)
    found = record(tmp_path / "run")
    assert (found["state"], found["reason"], found["select"]) == ("done", None, "best")
    assert (found["images_seen"], found["steps"], found["epochs"]) == (12, 6, 2)
    assert found["train_seconds"] > stopped["train_seconds"] > 0
    assert found["images_per_second"] == pytest.approx(12 / found["train_seconds"])
    assert (found["started"], found["earlier"]) == ("before", [{"threads": 99}])
    assert (found["latency"], found["latency_missing"]) == (None, "latency=false")
    assert same(weights(tmp_path / "run"), weights(run))
    best = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    assert found["measured_epoch"] == best["epoch"]
    assert found["metrics"] == found["best"] == record(run)["best"]
    assert found["split"] == "test"
    assert "test/AP" in json.loads((tmp_path / "run/metrics.json").read_text())


def test_a_failed_run_keeps_what_it_did_and_why_it_failed(
    detectors: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> NoReturn:
        raise RuntimeError("a part of mine broke")

    at_step(5, fail, monkeypatch)
    with pytest.raises(SystemExit):
        detectors(tmp_path, "train", *WORDS, "hydra.run.dir=run")
    found = record(tmp_path / "run")
    assert (found["state"], found["exit_code"]) == ("failed", 1)
    assert "unexpected RuntimeError: a part of mine broke" in found["reason"]
    assert any("a part of mine broke" in line for line in found["log"])
    assert len(found["log"]) <= 20
    assert (found["epochs"], found["images_seen"], found["metrics"]) == (1, 6, None)
    with (tmp_path / "run/metrics.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert found["last"]["AP"] == found["best"]["AP"] == float(row["val/AP"])


def test_a_run_of_which_the_data_changed_is_the_run_of_no_key(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def facts(key: str, data: str) -> dict[str, Any]:
        return {"key": key, "data": {"fingerprint": data}, "code": {}, "started": 1, "earlier": []}

    file, now = tmp_path / "run.json", facts("b", "2")
    file.write_text(json.dumps(facts("a", "2")))  # as when it is made longer
    assert _continued(now, file)["key"] == "b"
    assert not caplog.records
    file.write_text(json.dumps(facts("a", "1")))
    assert _continued(now, file)["key"] not in ("a", "b")
    assert "not those that this run began with (fingerprint 1, now 2)" in caplog.text


def test_of_several_processes_the_first_alone_looks_at_the_record_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detectors.engine.record.is_first_process", lambda: False)
    (tmp_path / "run.json").write_text(json.dumps({"key": "a", "data": {"fingerprint": "1"}}))
    cfg, trainer = OmegaConf.create({"run_dir": str(tmp_path), "objective": "x"}), Trainer()
    found = begin(cfg, {}, None, None, trainer, tmp_path / "checkpoints" / "last.ckpt")  # type: ignore[arg-type]
    assert found.content == {}
    assert found in trainer.callbacks  # type: ignore[attr-defined]


def test_a_diverged_run_is_told_from_one_that_failed(detectors: Call, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        detectors(tmp_path, "train", *WORDS, "hydra.run.dir=run", "optimizer.lr=1e30")
    found = record(tmp_path / "run")
    assert (found["state"], found["exit_code"]) == ("diverged", 1)
    assert found["error"] == "FloatingPointError"
    assert "is not finite" in found["reason"]


def test_costs_are_found_of_a_map_of_one_pixel_too(trained: Path) -> None:
    """The group norms of this run have one channel, on a feature map of one pixel."""
    found = record(trained)
    assert found["state"] == "done"
    assert found["flops"] > 0
    assert found["latency"]["median_ms"] > 0
    assert found["flops_missing"] is found["latency_missing"] is None


def test_what_a_training_has_found_is_not_lost_for_a_cost() -> None:
    def missing_kernel() -> NoReturn:
        raise NotImplementedError("no such operation\non meta")

    found = asked("flops", missing_kernel)
    assert found == {"flops": None, "flops_missing": "no such operation on meta"}
    assert asked("flops", lambda: {}["all"]) == {"flops": None, "flops_missing": "'all'"}


@pytest.mark.parametrize(
    ("word", "told"),
    [("objective=val/AX", "no such number"), ("data.batch_size=7", "there are 6; lower data.ba")],
)
def test_a_refused_run_leaves_no_record(
    word: str, told: str, detectors: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        detectors(tmp_path, "train", *WORDS, "hydra.run.dir=run", word)
    assert told in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
