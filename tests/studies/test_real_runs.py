"""A study of real trainings ends alike, whoever is killed and wherever its runs happen."""

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from detectors.studies.store import read_record
from tests.studies.real import (
    BASE,
    EQUAL,
    RECORD_MAY_DIFFER,
    differing,
    ended,
    runs,
    study,
    unlike,
    write_study,
)
from tests.studies.test_execute import children, gone

pytestmark = pytest.mark.slow

VARIANTS: dict[str, Any] = {
    "plain": [],
    "ema": "trick=[ema]",
    "ciou": "trick=[ciou]",
    "slow": "optimizer.lr=0.0001",
}
SEEDS = [1, 2, 3]
FEW = {name: VARIANTS[name] for name in ("plain", "ema")}
PLACES = ("store=store", "folder=study", "threads=1")
LIFE = 40  # seconds within which a process is killed


def prepared(folder: Path) -> Path:
    """The folder, with a study of twelve runs and one of the first four of them."""
    write_study(folder, "twelve", variants=VARIANTS, seeds=SEEDS)
    write_study(folder, "four", variants=FEW, seeds=SEEDS[:2])
    return folder


def told(folder: Path) -> str:
    return (folder / "told.txt").read_text()


def begun(folder: Path) -> int:
    return told(folder).count(" starts\n")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The twelve runs, made one after the other, and their results."""
    here = prepared(tmp_path_factory.mktemp("undisturbed"))
    assert ended(here, "run", "study=twelve", *PLACES) == 0, told(here)
    assert begun(here) == 12
    assert ended(here, "report", "study=twelve", *PLACES) == 0, told(here)
    return here


@pytest.fixture(scope="module")
def undisturbed_four(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the first four runs alone, which are not trained again."""
    here = prepared(tmp_path_factory.mktemp("four"))
    (here / "store").symlink_to(undisturbed / "store")
    assert ended(here, "report", "study=four", *PLACES) == 0, told(here)
    return here


def test_a_study_that_is_finished_trains_nothing_and_costs_little(undisturbed: Path) -> None:
    def times() -> list[int]:
        files = (undisturbed / "store").rglob("*")
        return sorted(file.stat().st_mtime_ns for file in files if not file.name.startswith("."))

    before, used = times(), resource.getrusage(resource.RUSAGE_CHILDREN)
    assert ended(undisturbed, "run", "study=twelve", *PLACES) == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert times() == before
    assert after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime < 10


def test_a_run_trained_again_is_the_same_to_the_bit(undisturbed: Path) -> None:
    words = ("verify", "study=twelve", *PLACES, "retrain=1", "retrain_seed=1")
    assert ended(undisturbed, *words) == 0, told(undisturbed)
    assert "trained again, metrics and detections are the same to the bit" in told(undisturbed)
    assert not any((undisturbed / "study" / "retrained").iterdir())


def saved(store: Path) -> dict[Path, int]:
    """When the checkpoints of runs were written that have not ended."""
    files = store.glob("*/checkpoints/last.ckpt")
    going = [file for file in files if read_record(file.parents[1]).get("ended") is None]
    return {file: file.stat().st_mtime_ns for file in going}


def wait(folder: Path, draw: random.Random, process: Any) -> None:
    """Until a moment drawn at random: at any time, or within steps after one that was saved."""
    if draw.random() < 0.5:
        time.sleep(draw.uniform(0, LIFE))
        return
    before, deadline = saved(folder / "store"), time.monotonic() + 10 * LIFE
    while time.monotonic() < deadline and process.poll() is None:
        if saved(folder / "store").items() - before.items():
            time.sleep(draw.uniform(0, 5))
            return
        time.sleep(0.1)


def kill(folder: Path, draw: random.Random, process: Any) -> None:
    """Kill a runner, its run or both; who is left of them ends too, unless it is the runner."""
    family = [process.pid, *children(process.pid)]
    struck = draw.choice([family, family[:1], family[1:] or family])
    for pid in struck:
        os.kill(pid, signal.SIGKILL)
    if process.pid not in struck:
        return
    process.wait()
    deadline = time.monotonic() + 5
    while not all(map(gone, family)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(gone, family)), "a run outlived its runner"


def test_ten_kills_change_nothing(undisturbed: Path, tmp_path: Path) -> None:
    here, draw = prepared(tmp_path), random.Random(13)
    words = ("run", "study=twelve", "study.budget.retries=9", *PLACES)
    process = study(here, *words)
    for _ in range(10):
        wait(here, draw, process)
        if process.poll() is None:
            kill(here, draw, process)
        if process.poll() is not None:
            process = study(here, *words)
    assert process.wait(timeout=3600) == 0, told(here)
    assert ended(here, "report", "study=twelve", *PLACES) == 0, told(here)
    assert unlike(undisturbed, here) == []
    aside = [f for f in (here / "store").iterdir() if re.fullmatch(r"[0-9a-f]{16}\.\d+", f.name)]
    assert not [f for f in aside if (f / "checkpoints" / "last.ckpt").is_file()]
    lives = [record.get("words", []) for record in map(read_record, runs(here / "store"))]
    assert any("ckpt_path=last" in words for words in lives), "no kill met a checkpoint"


def test_two_runners_train_no_key_twice(undisturbed_four: Path, tmp_path: Path) -> None:
    here = prepared(tmp_path)
    both = [study(here, "run", "study=four", *PLACES) for _ in range(2)]
    assert [process.wait(timeout=3600) for process in both] == [0, 0], told(here)
    assert begun(here) == 4
    assert len(list((here / "store").glob("*/"))) == 4
    assert ended(here, "report", "study=four", *PLACES) == 0, told(here)
    assert unlike_four(undisturbed_four, here) == []


@pytest.mark.parametrize(
    ("executor", "cluster"),
    [
        ("slurm", {"cluster": "local", "folder": "logs", "timeout_min": 60, "cpus_per_task": 1}),
        ("slurm", {"cluster": "debug", "folder": "logs", "timeout_min": 60}),
        ("ray", {"num_cpus": 2, "include_dashboard": False}),
    ],
)
def test_other_executors_find_what_local_finds(
    executor: str, cluster: dict[str, Any], undisturbed_four: Path, tmp_path: Path
) -> None:
    pytest.importorskip("submitit" if executor == "slurm" else "ray")
    here = prepared(tmp_path)
    settings = ",".join(f"{key}: {json.dumps(value)}" for key, value in cluster.items())
    asked = (f"executor={executor}", f"cluster={{{settings}}}", "jobs=2")
    assert ended(here, "run", "study=four", *PLACES, *asked) == 0, told(here)
    assert begun(here) == 4
    assert ended(here, "report", "study=four", *PLACES) == 0, told(here)
    assert unlike_four(undisturbed_four, here) == []


def unlike_four(undisturbed_four: Path, here: Path) -> list[str]:
    """As `unlike`, for the runs of the smaller study."""
    return unlike(here, undisturbed_four)


def test_seconds_are_held_equal_and_test_pictures_measure(tmp_path: Path) -> None:
    base = [*BASE[:-3], "trainer.max_epochs=4", "data.test=${data.val}"]
    given = {"variants": {"plain": [], "large": "image_size=640"}, "seeds": [1]}
    asked = {"equal": "seconds", "split": "test", "free": ["image_size"]}
    write_study(tmp_path, "timed", **{**given, **asked, "base": base})
    words = ("run", "study=timed", *PLACES)
    assert ended(tmp_path, *words) == 1
    assert "seconds needs a finished run of each variant at full length" in told(tmp_path)
    assert ended(tmp_path, *words, "study.equal=null") == 0, told(tmp_path)
    assert ended(tmp_path, *words) == 0, told(tmp_path)
    equal = json.loads((tmp_path / "study" / "equal.json").read_text())
    assert equal["epochs"]["plain"] == 4
    assert equal["epochs"]["large"] == max(
        1, round(4 * equal["costs"]["plain"] / equal["costs"]["large"])
    )
    assert begun(tmp_path) == 3  # at full length the plain one is what it was
    assert ended(tmp_path, "report", "study=timed", *PLACES) == 0, told(tmp_path)
    results = json.loads((tmp_path / "study" / "results.json").read_text())
    assert (results["study"]["split"], results["contract"]["equal"]) == ("test", "seconds")
    for variant in results["variants"]:
        (run,) = (tmp_path / "study" / one["folder"] for one in variant["runs"])
        record = read_record(run)
        assert (record["epochs"], record["split"]) == (equal["epochs"][variant["name"]], "test")
        assert record["images_seen"] == 8 * record["epochs"]
        assert "test/AP" in json.loads((run / "metrics.json").read_text())


LEAVES = '''
"""Ends a run within its second epoch, unless it is there again."""

from pathlib import Path

from lightning.pytorch import Callback


class Leaves(Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 3 and not Path("again").exists():
            raise KeyError("a callback of mine broke")
'''


def of_two_processes(folder: Path) -> "subprocess.CompletedProcess[str]":
    """A training that goes on from the checkpoint that may be there; it leaves once."""
    (folder / "leaves.py").write_text(LEAVES)
    words = [*BASE, "seed=1", "trainer.devices=2", "hydra.run.dir=run", "ckpt_path=last"]
    callback = "+callback.leaves={_target_: leaves.Leaves}"
    command = [sys.executable, "-m", "detectors", "train", *words, callback]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=1200
    )


def test_two_processes_of_a_run_write_one_record_and_go_on_as_if_they_had_never_left(
    tmp_path: Path,
) -> None:
    """Each takes a batch of two; all eight pictures are seen in each epoch."""
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    unbroken.mkdir()
    (unbroken / "again").touch()
    done = of_two_processes(unbroken)
    assert done.returncode == 0, done.stderr[-3000:]
    record = read_record(unbroken / "run")
    assert (record["state"], record["devices"]) == ("done", 2)
    assert (record["images_seen"], record["steps"], record["epochs"]) == (24, 6, 3)
    assert record["data"]["images"] == 8
    found = json.loads((unbroken / "run" / "metrics.json").read_text())
    assert {f"val/{name}": value for name, value in record["metrics"].items()} == found
    truth = json.loads((unbroken / "run" / "truth.json").read_text())
    assert len(truth["images"]) == 8
    assert not list(unbroken.rglob(".*.part"))
    assert len(list(unbroken.rglob("run.json"))) == 1

    broken.mkdir()
    assert of_two_processes(broken).returncode == 1
    assert read_record(broken / "run")["state"] == "failed"
    (broken / "again").touch()
    done = of_two_processes(broken)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "resuming from" in (broken / "run" / "log.txt").read_text()
    for name in EQUAL:
        assert (broken / "run" / name).read_bytes() == (unbroken / "run" / name).read_bytes(), name
    one, other = (folder / "run" / "run.json" for folder in (unbroken, broken))
    assert differing(one, other, RECORD_MAY_DIFFER) == []


BROKEN = '''
"""Ends a run in different ways."""

import resource

import torch
from lightning.pytorch import Callback


class Raises(Callback):
    def on_train_epoch_end(self, trainer, pl_module):
        raise KeyError("a callback of mine broke")


class Hungry(Callback):
    """Asks for more memory than the process may have."""

    def on_train_epoch_end(self, trainer, pl_module):
        size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + 2**28, size + 2**28))
        torch.zeros(2**30, dtype=torch.float64)
'''


def test_each_variant_ends_in_its_own_way(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "conf" / "callback").mkdir(parents=True)
    for name in ("Raises", "Hungry"):
        text = f"# @package callback.{name.lower()}\n_target_: broken.{name}\n"
        (tmp_path / "conf" / "callback" / f"{name.lower()}.yaml").write_text(text)
    variants = {
        "plain": [],
        "raises": "callback=[default,raises]",
        "hungry": "callback=[default,hungry]",
        "diverges": "optimizer.lr=1e30",
        "ema": "trick=[ema]",
    }
    base = [word for word in BASE if not word.startswith("~")]
    write_study(tmp_path, "broken", base=base, variants=variants, seeds=[1])
    words = ("study=broken", "study.budget.retries=1", *PLACES)
    assert ended(tmp_path, "run", *words) == 1, told(tmp_path)
    assert "5 of 5 runs have ended, 2 failed" in told(tmp_path)
    cells = json.loads((tmp_path / "study" / "cells.json").read_text())["runs"]
    assert {cell["variant"]: cell["state"] for cell in cells} == {
        "plain": "done",
        "raises": "failed",
        "hungry": "failed",
        "diverges": "diverged",
        "ema": "done",
    }
    record = {c["variant"]: read_record(tmp_path / "store" / c["key"]) for c in cells}
    assert "a callback of mine broke" in record["raises"]["reason"]
    assert "the memory of this machine does not suffice" in record["hungry"]["reason"]
    assert "is not finite" in record["diverges"]["reason"]
    # What raised went on from its checkpoint once; what was out of memory did not try again.
    assert "ckpt_path=last" in record["raises"]["words"]
    assert "ckpt_path=last" not in record["hungry"]["words"]
    assert ended(tmp_path, "report", *words) == 0, told(tmp_path)
    results = json.loads((tmp_path / "study" / "results.json").read_text())
    verdicts = {c["variant"]: c["verdict"]["words"] for c in results["comparisons"][:4]}
    assert verdicts["diverges"] == "diverged with 1 of 1 seeds"
    assert verdicts["ema"] == "no verdict: one run has no interval"
    assert verdicts["hungry"] == verdicts["raises"] == "no verdict: 0 of 1 seeds"
