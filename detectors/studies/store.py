"""Keeps one folder for each run, named by its key, and says what state each is in."""

import contextlib
import json
import os
import shutil
import socket
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from detectors.files import whole_file
from detectors.studies import claims
from detectors.studies.keys import changed

ENDED = ("done", "failed", "diverged")
SHOWN = 3  # changed files in a reason
_ANOTHER = (
    "it has become the run {}, because configs or data were changed after it had been planned; "
    "remove its folder"
)


class Run(NamedTuple):
    """What the store knows of a key."""

    key: str
    state: str  # missing, running, lost, done, failed, diverged, stale
    reason: str  # of a failure, where it runs, or which files have changed
    folder: Path
    record: Mapping[str, Any]  # run.json; empty where there is none


class Store:
    """Run folders by key, shared by studies and by several processes that run them."""

    def __init__(self, folder: str | Path, any_code: bool = False, commit: str | None = None):
        """Take the folder as it is, or make it.

        Args:
            folder: of the run folders.
            any_code: count runs although the code has changed since.
            commit: of git, whose runs count as they are.
        """
        self.folder = Path(folder)
        self.any_code, self.commit = any_code, commit
        self.watch = claims.Watch()
        self._changed: dict[str, list[str]] = {}
        self.folder.mkdir(parents=True, exist_ok=True)

    def run(self, key: str) -> Run:
        """The run of a key, whether it is there or not."""
        folder = self.folder / key
        record = read_record(folder)
        claim = claims.read(claim_of(folder))
        if claim is not None and self.watch.alive(claim):
            here = claim.host == socket.gethostname()
            where = f"process {claim.pid} here" if here else f"process {claim.pid} on {claim.host}"
            return Run(key, "running", where, folder, record)
        state = record.get("state", "missing")
        if state not in ENDED:
            return Run(key, "lost" if record else "missing", "", folder, record)
        if (own := record.get("key", key)) != key:
            return Run(key, "failed", _ANOTHER.format(own), folder, record)
        files = self.outdated(record)
        if files:
            more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
            return Run(key, "stale", ", ".join(files[:SHOWN]) + more, folder, record)
        return Run(key, state, record.get("reason") or "", folder, record)

    def outdated(self, record: Mapping[str, Any]) -> list[str]:
        """Files of code that have changed since a run; none where such runs count as they are."""
        if self.any_code or (self.commit is not None and _of_commit(record, self.commit)):
            return []
        return self.changed_since(record)

    def changed_since(self, record: Mapping[str, Any]) -> list[str]:
        """Files of code that have changed since a run, whether that is accepted or not."""
        code = record.get("code", {})
        place = json.dumps(code, sort_keys=True)
        if place not in self._changed:  # most runs share their code
            self._changed[place] = changed(code)
        return self._changed[place]

    def adopt(self, folder: str | Path) -> list[str]:
        """Take the runs of a folder, and say of each what became of it; what is there stays.

        Checkpoints get a second name (a hard link) where both folders are on one file system, and
        all else is copied. Runs that go on at this moment, have failed or only debug are left out.

        Raises:
            ValueError: there is no run in the folder.
        """
        found = sorted(file.parent for file in Path(folder).rglob("run.json"))
        if not found:
            raise ValueError(
                f"import={folder}: no run.json below it, which every run of `detectors train` "
                "writes: name the folder of a run or of a sweep"
            )
        return [f"{run}: {self._adopted(run, read_record(run))}" for run in found]

    def _adopted(self, folder: Path, record: Mapping[str, Any]) -> str:
        key, state = record.get("key"), record.get("state")
        if record.get("debug"):
            return f"left out: debug={record['debug']}, which is no result"
        if not key or state not in ("done", "diverged", "running"):
            return f"left out: {record.get('reason') or 'it has no key'}"
        if state == "running" and claims.living(str(record["host"]), int(record["pid"])):
            return "left out: it is still running"
        if self.run(key).state in ("done", "diverged", "running"):
            return f"left out: {key} is there already"
        claim = claims.take(claim_of(self.folder / key), self.watch)
        if claim is None:
            return f"left out: {key} is running"
        try:
            self._take(folder, key)
        finally:
            claims.release(claim_of(self.folder / key), claim)
        return f"taken as {key}"

    def _take(self, folder: Path, key: str) -> None:
        beside = self.folder / f".{key}.part"
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(folder, beside, copy_function=linked)
        set_aside(self.folder / key)
        beside.rename(self.folder / key)


def _of_commit(record: Mapping[str, Any], commit: str) -> bool:
    """Whether the run had the code of the commit, with no file of it changed in the checkout."""
    lines = (record.get("git_changes") or "").splitlines()
    changes = {line.split()[-1] for line in lines if line.strip()}
    return str(record.get("git_commit")).startswith(commit) and not (
        changes & {*record.get("code", {})}
    )


def claim_of(folder: Path) -> Path:
    """The file that says who runs the run of a folder; beside it, because folders are moved."""
    return folder.with_name(f"{folder.name}.claim")


def read_record(folder: Path) -> dict[str, Any]:
    """What `run.json` says; empty where there is none."""
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else {}
    return {}


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Write `run.json` whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / "run.json") as lines:
        lines.write(json.dumps(record, indent=2) + "\n")


def remove_checkpoints(folder: Path, keep: Collection[str]) -> None:
    """Remove those of a run folder whose names are not to be kept, "last" for `last.ckpt`."""
    for file in (folder / "checkpoints").glob("*.ckpt"):
        if file.stem not in keep:
            file.unlink()


def set_aside(folder: Path) -> Path | None:
    """Rename the folder of a run to KEY.1, or the next number that is free; None: there is none."""
    if not folder.exists():
        return None
    free = next(path for path in _numbered(folder) if not path.exists())
    return folder.rename(free)


def _numbered(folder: Path) -> Iterator[Path]:
    number = 1
    while True:
        yield folder.with_name(f"{folder.name}.{number}")
        number += 1


def linked(source: str, target: str) -> str:
    """Give a checkpoint a second name; copy what is no checkpoint, or lies on another disk."""
    if source.endswith(".ckpt"):
        with contextlib.suppress(OSError):
            os.link(source, target)
            return target
    return str(shutil.copy2(source, target))
