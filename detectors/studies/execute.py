"""Trains the runs of a study that are missing, each in a process of its own."""

import contextlib
import itertools
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from detectors.config.paths import config_dirs, naming
from detectors.studies import claims
from detectors.studies.design import Cell
from detectors.studies.processes import dying_with_parent
from detectors.studies.store import (
    Run,
    Store,
    claim_of,
    read_record,
    remove_checkpoints,
    set_aside,
    write_record,
)

TRAIN = (sys.executable, "-m", "detectors", "train")
UNREPORTED = {"DETECTORS_REPORT": "false"}  # the study has a report; `detectors report` has theirs
PAUSE = 0.2  # seconds between two looks at what runs here
PATIENCE = 5.0  # the same at the store, where others may have run something
TRIES = 3  # of a run that is lost, as with a machine
LAST = 20  # lines of output that are kept of a failure
MERCY = 30.0  # seconds in which a run may end by itself when it is told to
_MEMORY = ("TooLittleMemory", "OutOfMemoryError", "MemoryError")  # classes of errors
_MEMORY_TOLD = re.compile(r"out of memory|cannot allocate memory|\bMemoryError\b", re.IGNORECASE)


def training(search: Sequence[str]) -> tuple[str, ...]:
    """The command that trains a run, with the folders of configs that these words name."""
    return (*TRAIN, *naming([*config_dirs(search)]))


class Job(NamedTuple):
    """All that is needed to train one run, on whatever machine sees the store."""

    key: str
    words: tuple[str, ...]
    store: str
    threads: int
    retries: int
    anew: bool = False  # set the old folder aside although it has a checkpoint
    seen: str | None = None  # when the run had ended, as it was decided to start it
    dead: str | None = None  # the claim on it that had no heartbeat then
    command: tuple[str, ...] = TRAIN
    keep: tuple[str, ...] | None = None  # checkpoints that stay when it is done; None: all
    environment: Mapping[str, str] = {}


class Executor(Protocol):
    """Where runs happen."""

    slots: int  # runs at once

    def start(self, jobs: Sequence[Job]) -> list[Any]:
        """Start each; a handle for each, or None where another process has the run."""

    def ended(self, handle: Any) -> bool:
        """Whether the run of a handle has come to an end; to be asked often."""

    def stop(self) -> None:
        """End all that runs."""


class Attempt:
    """A run that this process has claimed, and the process that trains it."""

    def __init__(self, job: Job, claim: claims.Claim) -> None:
        self.job, self.folder = job, Path(job.store, job.key)
        self.output = self.folder.with_name(f"{job.key}.out")
        self.claim: claims.Claim | None = claim
        self._left = job.retries
        self._heard = time.monotonic()
        self._start(job.anew)

    @classmethod
    def begun(cls, job: Job) -> "Attempt | None":
        """The run, claimed and begun; None: another process has it, or it has ended by now."""
        folder = Path(job.store, job.key)
        claim = claims.take(claim_of(folder), claims.Watch(), job.dead)
        if claim is not None and read_record(folder).get("ended") != job.seen:
            claims.release(claim_of(folder), claim)  # another has run it in the meantime
            return None
        return None if claim is None else cls(job, claim)

    def _start(self, anew: bool) -> None:
        halted(self.folder).unlink(missing_ok=True)  # meant an earlier life
        goes_on = not anew and (self.folder / "checkpoints" / "last.ckpt").is_file()
        if not goes_on:
            set_aside(self.folder)
        threads = {"OMP_NUM_THREADS": str(self.job.threads)}
        words = [*self.job.words, f"hydra.run.dir={self.folder}"]
        self._killed_before, self._before = _killed_for_memory(), read_record(self.folder)
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                [*self.job.command, *words, *(["ckpt_path=last"] if goes_on else [])],
                env={**os.environ, **threads, **UNREPORTED, **self.job.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                preexec_fn=dying_with_parent(),
            )

    def ended(self) -> bool:
        """Whether it is over: done, diverged, or failed as often as it may."""
        self._beat()
        code = self.process.poll()
        if code is None and halted(self.folder).exists():
            self.stop()
            return True
        if code is None:
            return False
        if self.claim is None:
            return True
        record = read_record(self.folder)
        begun = record != self._before  # else it is what an earlier process has written
        if begun and record.get("state") in ("done", "diverged"):
            if record["state"] == "done" and self.job.keep is not None:
                remove_checkpoints(self.folder, self.job.keep)
            self._close(record)
            return True
        failed = {**self._failed(record if begun else {}, code), "begun": begun}
        if self._left > 0 and self._may_succeed(failed):
            self._left -= 1
            self._start(anew=False)
            return False
        self._close(failed)
        return True

    def _beat(self) -> None:
        if self.claim is not None and time.monotonic() - self._heard >= claims.BEAT:
            self._heard = time.monotonic()
            self.claim = claims.beat(claim_of(self.folder), self.claim)
            if self.claim is None:  # this process stood still, and another has the run now
                self.process.kill()

    def _failed(self, record: Mapping[str, Any], code: int) -> dict[str, Any]:
        """The record of a run that has failed, as far as its process did not write that itself."""
        lines = self.output.read_text(encoding="utf-8", errors="replace").splitlines()[-LAST:]
        own = record if record.get("state") == "failed" else {}
        last = next((line for line in reversed(lines) if line.strip()), "it told nothing")
        memory = code in (-9, 137) and _killed_for_memory() > self._killed_before
        killed = f"killed by signal {-code}" if code < 0 else last
        reason = "the machine is out of memory" if memory else own.get("reason") or killed
        now = datetime.now(UTC).isoformat(timespec="seconds")
        told = {"state": "failed", "reason": reason, "exit_code": code, "log": lines}
        told["ended"] = record.get("ended") or now
        known = {"format": 1, "key": self.job.key, "words": list(self.job.words), "code": {}}
        error = own.get("error") or ("MemoryError" if memory else None)
        return {**known, **self._before, **record, **told, "error": error}

    @staticmethod
    def _may_succeed(failed: Mapping[str, Any]) -> bool:
        """Whether the same words may end otherwise the next time."""
        told = "\n".join([str(failed["reason"]), *failed["log"]])
        memory = failed["error"] in _MEMORY or _MEMORY_TOLD.search(told)
        refused = failed["error"] == "ValueError" or (
            not failed["begun"] and failed["exit_code"] > 0
        )
        return not (memory or refused)

    def _close(self, record: Mapping[str, Any]) -> None:
        """Write what became of the run, and free it."""
        assert self.claim is not None
        write_record(self.folder, {k: value for k, value in record.items() if k != "begun"})
        os.replace(self.output, self.folder / "console.txt")
        claims.release(claim_of(self.folder), self.claim)

    def stop(self) -> None:
        """Let the process save and end; kill it if it does not. The run can go on later."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(MERCY)
            self.process.kill()
            self.process.wait()
        halted(self.folder).unlink(missing_ok=True)
        if self.claim is not None:
            claims.release(claim_of(self.folder), self.claim)


def halted(folder: Path) -> Path:
    """The file by which whoever trains the run of a folder is told to stop it."""
    return folder.with_name(f"{folder.name}.halt")


def halt(folder: Path) -> None:
    """Let a run that goes on, wherever that is, save and stop; it can go on later."""
    halted(folder).touch()


def attend(job: Job) -> None:
    """Train one run to its end, wherever this is called."""
    attempt = Attempt.begun(job)
    try:
        while attempt is not None and not attempt.ended():
            time.sleep(PAUSE)
    except BaseException:
        if attempt is not None:
            attempt.stop()
        raise


def missing(extra: str, package: str) -> str:
    """The sentence about an executor whose engine is not installed."""
    return f"executor={extra} needs {package}: pip install 'lightning-detectors[{extra}]'"


def _killed_for_memory() -> int:
    """Processes that this machine has killed for want of memory so far."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path("/proc/vmstat").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith("oom_kill ")))
    return 0


def _say(line: str) -> None:
    print(line, flush=True)  # also into a file or a pipe, in which somebody may look


class Runner:
    """Takes missing runs, one after the other or several at once, until there are none."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        job: Callable[[Cell], Job],
        hours: float | None = None,
        again: bool = False,
        say: Callable[[str], None] = _say,
    ) -> None:
        """Make one; nothing is started.

        Args:
            job: what is to be done for a cell.
            hours: after which nothing is started; null: any time.
            again: start failed runs once more.
            say: shows a line of progress.
        """
        self.store, self.executor, self.job, self.say = store, executor, job, say
        self.end = None if hours is None else time.monotonic() + hours * 3600
        self.again, self.tried = again, Counter[str]()
        self.going: dict[Cell, Any] = {}  # handles of what runs
        self.started: dict[str, float] = {}
        self.seconds: list[float] = []  # of runs that ended here

    def work(self, cells: Sequence[Cell]) -> None:
        """Train what is missing of the cells, in their order, and wait for what others train."""
        waiting = list({cell.key: cell for cell in cells}.values())
        keys, look = [cell.key for cell in waiting], 0.0
        try:
            while True:
                over = self.reap()
                for cell in over:
                    self.say(f"{self._told(cell)}. {self.progress(keys)}")
                if over or time.monotonic() >= look:
                    waiting = [c for c in waiting if c in self.going or self.open(c)]
                    for cell in self.fill(waiting):
                        self.say(f"{_now()} {_told_of(cell)} starts")
                    look = time.monotonic() + PATIENCE
                if not self.going and (not waiting or self.late):
                    return
                time.sleep(PAUSE)
        finally:
            self.stop()

    def stop(self) -> None:
        """End what runs, if anything does."""
        if self.going:
            self.executor.stop()

    @property
    def late(self) -> bool:
        """Whether the hours are over, or would be before another run ends."""
        need = statistics.median(self.seconds) if self.seconds else 0.0
        return self.end is not None and time.monotonic() + need > self.end

    def open(self, cell: Cell) -> bool:
        """Whether the run, which does not go on here, must still be started or is waited for."""
        state, tried = self.store.run(cell.key).state, self.tried[cell.key]
        first = state == "stale" or (state == "failed" and self.again)
        if first and tried == 0:
            return True
        return state == "running" or (state in ("missing", "lost") and tried < TRIES)

    def fill(self, waiting: Sequence[Cell]) -> list[Cell]:
        """Start as many as there are slots for, of those that nobody runs; these are returned."""
        count = 0 if self.late else max(0, self.executor.slots - len(self.going))
        free = ((cell, self.store.run(cell.key)) for cell in waiting if cell not in self.going)
        chosen = list(
            itertools.islice((pair for pair in free if pair[1].state != "running"), count)
        )
        jobs = [self._job(cell, run) for cell, run in chosen]
        handles = self.executor.start(jobs) if jobs else []
        begun = [
            (cell, handle)
            for (cell, _), handle in zip(chosen, handles, strict=True)
            if handle is not None
        ]
        for cell, handle in begun:
            self.tried[cell.key] += 1
            self.started[cell.key] = time.monotonic()
            self.going[cell] = handle
        return [cell for cell, _ in begun]

    def _job(self, cell: Cell, run: Run) -> Job:
        claim = claims.read(claim_of(run.folder))
        return self.job(cell)._replace(
            anew=bool(self.store.outdated(run.record)),
            seen=run.record.get("ended"),
            dead=claim.token if claim is not None and not self.store.watch.alive(claim) else None,
        )

    def reap(self) -> list[Cell]:
        """What has ended since the last time."""
        over = [cell for cell, handle in self.going.items() if self.executor.ended(handle)]
        for cell in over:
            del self.going[cell]
            self.seconds.append(time.monotonic() - self.started[cell.key])
        return over

    def _told(self, cell: Cell) -> str:
        """How a run has ended."""
        run = self.store.run(cell.key)
        reason = f": {run.reason}" if run.reason else ""
        return f"{_now()} {_told_of(cell)} {run.state}{reason}"

    def progress(self, keys: Sequence[str]) -> str:
        """How many runs are done, and when the rest may be."""
        states = [self.store.run(key).state for key in keys]
        ended = sum(state in ("done", "diverged", "failed") for state in states)
        line = f"{ended} of {len(keys)} runs have ended, {states.count('failed')} failed"
        if not self.seconds or ended == len(keys):
            return line
        minutes = statistics.median(self.seconds) / 60
        left = minutes * (len(keys) - ended) / min(self.executor.slots, len(keys))
        return f"{line}; {minutes:.1f} minutes a run, about {_told(left)} left"


def _told(minutes: float) -> str:
    return f"{minutes:.0f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"


def _told_of(cell: Cell) -> str:
    return f"{cell.variant}, seed {cell.seed} ({cell.key})"


def _now() -> str:
    return time.strftime("%H:%M")
