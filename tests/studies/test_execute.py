"""Runs are trained once, whoever is killed; each failure is treated by its kind."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from detectors.studies import claims, execute
from detectors.studies.design import Cell
from detectors.studies.execute import Job, Runner
from detectors.studies.executors.local import Local
from detectors.studies.store import Store, claim_of, read_record

FAKE = (sys.executable, str(Path(__file__).with_name("fake_train.py")))


def cell(variant: str, seed: int, *words: str) -> Cell:
    return Cell(variant, seed, (*words, f"seed={seed}"), f"{variant:0>14}{seed:02}")


def job(store: Path, retries: int = 1, threads: int = 1):
    return lambda cell: Job(cell.key, cell.words, str(store), threads, retries, command=FAKE)


def run(store: Path, cells: list[Cell], jobs: int = 2, **settings: bool) -> list[str]:
    """Work through the cells in this process; the lines that are shown."""
    lines: list[str] = []
    runner = Runner(Store(store), Local({}, jobs, 1), job(store), say=lines.append, **settings)
    runner.work(cells)
    return lines


def lives(store: Path) -> Counter[str]:
    """How often each run began from its start."""
    lines = (store / "lives.txt").read_text().splitlines()
    return Counter(line.split()[0] for line in lines if line.endswith(" 0"))


def states(store: Path, cells: list[Cell]) -> list[str]:
    return [Store(store).run(cell.key).state for cell in cells]


def test_all_runs_are_done_once_and_never_again(tmp_path: Path) -> None:
    cells = [cell(v, s) for s in (1, 2) for v in ("a", "b")]
    lines = run(tmp_path, cells)
    assert states(tmp_path, cells) == ["done"] * 4
    assert "4 of 4 runs have ended, 0 failed" in lines[-1]
    assert run(tmp_path, cells) == []
    assert set(lives(tmp_path).values()) == {1}
    assert read_record(tmp_path / cells[0].key)["threads"] == 1
    assert not list(tmp_path.glob("*.claim"))


def test_each_kind_of_failure_ends_as_it_must(tmp_path: Path) -> None:
    fates = ("raises", "memory", "diverges", "refused", "once", "done")
    cells = [cell(fate, 1, f"fate={fate}") for fate in fates]
    run(tmp_path, cells)
    expected = ["failed", "failed", "diverged", "failed", "done", "done"]
    assert states(tmp_path, cells) == expected
    reasons = [Store(tmp_path).run(cell.key).reason for cell in cells]
    assert reasons[0] == "broken"
    assert "out of memory" in reasons[1]
    assert reasons[3] == "this model does not use 'neck'"
    told = (tmp_path / "lives.txt").read_text().split("\n")
    begun = Counter(line.split()[0].lstrip("0")[:-2] for line in told if line)
    # The one that raises is tried again, and so is the one that fails once.
    assert begun == {"raises": 2, "memory": 1, "diverges": 1, "once": 2, "done": 1}
    record = read_record(tmp_path / cells[1].key)
    assert record["exit_code"] == 1
    assert record["log"] == ["torch.OutOfMemoryError: CUDA out of memory"]


@pytest.mark.parametrize("told", ["TooLittleMemory", "OutOfMemoryError", "MemoryError"])
def test_what_was_out_of_memory_is_not_tried_again(told: str) -> None:
    failed = {"error": told, "reason": "needs 2 GB", "log": [], "begun": True, "exit_code": 1}
    assert not execute.Attempt._may_succeed(failed)
    assert execute.Attempt._may_succeed({**failed, "error": "RuntimeError"})


def test_a_failure_is_told_by_its_own_process(tmp_path: Path) -> None:
    """Not by the record of the one before, which failed in another way."""
    (one,) = cells = [cell("a", 1, "fate=raises")]
    run(tmp_path, cells)
    assert Store(tmp_path).run(one.key).reason == "broken"
    again = [one._replace(words=(*one.words, "fate=refused"))]
    run(tmp_path, again, again=True)
    assert Store(tmp_path).run(one.key).reason == "this model does not use 'neck'"


def test_a_failed_run_is_started_again_only_if_asked(tmp_path: Path) -> None:
    cells = [cell("a", 1, "fate=memory")]
    run(tmp_path, cells)
    assert run(tmp_path, cells) == []
    assert len(run(tmp_path, cells, again=True)) == 2


def test_a_run_of_other_code_is_set_aside(tmp_path: Path) -> None:
    cells = [cell("a", 1)]
    run(tmp_path, cells)
    file = tmp_path / cells[0].key / "run.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "code": {"detectors/x.py": "0"}}))
    stale = Store(tmp_path).run(cells[0].key)
    assert (stale.state, stale.reason) == ("stale", "detectors/x.py")
    assert Store(tmp_path, any_code=True).run(cells[0].key).state == "done"
    run(tmp_path, cells)
    assert states(tmp_path, cells) == ["done"]
    assert (tmp_path / f"{cells[0].key}.1" / "metrics.json").is_file()


RUNNER = """
import sys
from pathlib import Path
from tests.studies.test_execute import cell, run
cells = [cell(v, s, "epochs=4", "pause=0.1") for s in (1, 2, 3) for v in "abcd"]
run(Path(sys.argv[1]), cells)
"""


def runner(store: Path) -> subprocess.Popen[bytes]:
    """A runner of its own, of twelve runs of 0.4 seconds."""
    root = Path(__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", RUNNER, str(store)], cwd=root)


CELLS = [cell(v, s) for s in (1, 2, 3) for v in "abcd"]


def children(pid: int) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return [int(line) for line in found.stdout.split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
def test_kills_at_any_time_lose_nothing_but_begun_epochs(tmp_path: Path) -> None:
    rng = random.Random(0)
    for _ in range(10):
        process = runner(tmp_path)
        time.sleep(rng.uniform(0.5, 2.5))
        family = [*children(process.pid), process.pid]
        for pid in rng.sample(family, rng.randint(1, len(family))):
            os.kill(pid, signal.SIGKILL)
        os.kill(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.wait()
        deadline = time.monotonic() + 5
        while not all(map(gone, family)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert all(map(gone, family)), "a run outlived its runner"
    assert runner(tmp_path).wait(timeout=60) == 0
    assert states(tmp_path, CELLS) == ["done"] * 12
    metrics = [read_record(tmp_path / cell.key)["metrics"]["AP"] for cell in CELLS]
    assert metrics == [cell.seed / 10 for cell in CELLS]
    resumed = [
        line for line in (tmp_path / "lives.txt").read_text().splitlines() if line[-1] != "0"
    ]
    assert resumed, "no kill met a run with a checkpoint"
    # Begun anew is only what had no checkpoint; its old folder stays, unless nothing was in it.
    again = {key: count - 1 for key, count in lives(tmp_path).items() if count > 1}
    for key, count in again.items():
        old = list(tmp_path.glob(f"{key}.*[0-9]"))
        assert len(old) == count
        assert not any((folder / "checkpoints" / "last.ckpt").is_file() for folder in old)


@pytest.mark.slow
def test_two_runners_on_one_store_train_nothing_twice(tmp_path: Path) -> None:
    both = [runner(tmp_path), runner(tmp_path)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert states(tmp_path, CELLS) == ["done"] * 12
    assert len(lives(tmp_path)) == 12
    assert set(lives(tmp_path).values()) == {1}


def test_a_runner_that_is_told_to_end_frees_its_runs(tmp_path: Path) -> None:
    cells = [cell("a", 1, "epochs=100", "pause=0.1")]
    store, executor = Store(tmp_path), Local({}, 1, 1)
    (attempt,) = executor.start([job(tmp_path)(cells[0])])
    assert store.run(cells[0].key).state == "running"
    executor.stop()
    assert attempt is not None
    assert attempt.process.poll() is not None
    assert store.run(cells[0].key).state in ("lost", "missing")


def test_a_run_of_a_machine_that_is_gone_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "PATIENCE", 0.1)
    monkeypatch.setattr(claims, "STILL", 0.3)
    (one,) = cells = [cell("a", 1)]
    claim = claims.take(claim_of(tmp_path / one.key), claims.Watch())
    assert claim is not None
    claim_of(tmp_path / one.key).write_text(json.dumps(claim._replace(host="gone")._asdict()))
    assert states(tmp_path, cells) == ["running"]
    run(tmp_path, cells)
    assert states(tmp_path, cells) == ["done"]


def test_a_run_that_is_halted_stops_and_can_go_on(tmp_path: Path) -> None:
    slow = cell("slow", 1, "epochs=3", "pause=0.3")
    runner = Runner(Store(tmp_path), Local({}, 1, 1), job(tmp_path))
    assert runner.fill([slow]) == [slow]
    while not (tmp_path / slow.key / "checkpoints" / "last.ckpt").exists():
        assert runner.reap() == []
        time.sleep(0.05)
    execute.halt(tmp_path / slow.key)
    while slow in runner.going:
        runner.reap()
    assert states(tmp_path, [slow]) == ["lost"]
    assert not list(tmp_path.glob("*.halt")) + list(tmp_path.glob("*.claim"))
    run(tmp_path, [slow])
    assert states(tmp_path, [slow]) == ["done"]
    assert lives(tmp_path)[slow.key] == 1


class Losing:
    """An executor whose machines vanish, as far as it goes, without a word."""

    slots = 1

    def __init__(self) -> None:
        self.started: list[str] = []

    def start(self, jobs: list[Job]) -> list[str]:
        self.started += [job.key for job in jobs]
        return [job.key for job in jobs]

    def ended(self, handle: str) -> bool:
        return True

    def stop(self) -> None: ...


def test_a_lost_run_is_tried_three_times(tmp_path: Path) -> None:
    executor, one = Losing(), cell("a", 1)
    Runner(Store(tmp_path), executor, job(tmp_path), say=lambda line: None).work([one])
    assert executor.started == [one.key] * 3


def test_checkpoints_that_are_not_kept_are_removed_when_a_run_is_done(tmp_path: Path) -> None:
    cells, own = [cell("a", 1), cell("b", 1, "fate=raises")], job(tmp_path)
    left: dict[tuple[str, ...] | None, list[bool]] = {}
    for keep in (None, ("last",), ("best",)):
        store = tmp_path / str(keep)
        begin = lambda one, s=store, k=keep: own(one)._replace(store=str(s), keep=k)  # noqa: E731
        Runner(Store(store), Local({}, 2, 1), begin).work(cells)
        assert states(store, cells) == ["done", "failed"]
        files = [store / one.key / "checkpoints" / "last.ckpt" for one in cells]
        left[keep] = [file.is_file() for file in files]
    assert left == {None: [True, True], ("last",): [True, True], ("best",): [False, True]}


def test_nothing_starts_when_the_hours_are_over(tmp_path: Path) -> None:
    runner = Runner(Store(tmp_path), Local({}, 1, 1), job(tmp_path), hours=0, say=print)
    runner.work([cell("a", 1)])
    assert states(tmp_path, [cell("a", 1)]) == ["missing"]
