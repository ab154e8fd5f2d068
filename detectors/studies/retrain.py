"""Trains runs of a study again, drawn by chance, and names the first file that is another then."""

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectors.studies.evidence import gathered
from detectors.studies.execute import TRAIN
from detectors.studies.keys import changed
from detectors.studies.measured import read_json
from detectors.studies.processes import dying_with_parent
from detectors.studies.store import SHOWN, read_record

FOLDER = "retrained"  # in that of the study
COMPARED = ("metrics.json", "detections.json")  # to the bit
MACHINE = ("device_name", "threads")
CONDITIONS = (sys.executable, "-m", "detectors.engine.conditions")
OF_A_LIFE = ("hydra.run.dir=", "run_dir=", "ckpt_path=")

Record = Mapping[str, Any]  # run.json


def retrained(
    folder: Path,
    count: int,
    seed: int,
    accept: Collection[str] = (),
    command: Sequence[str] = TRAIN,
    say: Callable[[str], None] = print,
) -> list[str]:
    """What differs when runs are trained again from their words; empty where nothing does.

    Args:
        folder: of the study.
        count: of runs.
        seed: by which they are drawn.
        accept: "code", "machine" or "versions" that may be other than those of a run.
        command: that trains; folders of configs of the user's are in it.

    Raises:
        ValueError: there are not so many runs, or equal numbers are not promised because code,
            machine or versions are others now; names them.
    """
    runs = {
        f"{variant}, seed {of}": run
        for variant, own in gathered(folder)[0].items()
        for of, run in own.items()
    }
    if count > len(runs):
        raise ValueError(f"retrain={count}: the study has {len(runs)} finished runs: lower it")
    lines: list[str] = []
    for name in random.Random(seed).sample(sorted(runs), count):
        say(f"training {name} again ({runs[name].name}), drawn by retrain_seed={seed}")
        record = read_json(runs[name] / "run.json")
        _check_conditions(name, record, accept)
        lines += [f"{name}: {line}" for line in _differing(runs[name], record, folder, command)]
    return lines


def _check_conditions(name: str, record: Record, accept: Collection[str]) -> None:
    """Refuse a run of which the same numbers cannot be expected."""
    threads = {"OMP_NUM_THREADS": str(record["threads"])}
    told = subprocess.run(
        [*CONDITIONS, record["device"]],
        env={**os.environ, **threads},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=dying_with_parent(),
    )
    if told.returncode:
        raise ValueError(f"{name} was trained on {record['device']}: {told.stderr.strip()[-200:]}")
    today = json.loads(told.stdout.splitlines()[-1])
    for kind, what in others(record, today):
        if kind not in accept:
            raise ValueError(
                f"{name}: equal numbers are promised for the same code, machine, threads and "
                f"versions only, and {what}: go on nevertheless with accept=[{kind}]"
            )


def others(record: Record, today: Record) -> Iterator[tuple[str, str]]:
    """Kind and description of every condition that is another than that of the run.

    Args:
        today: what `detectors.engine.conditions` says.
    """
    if files := changed(record["code"]):
        more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
        yield "code", f"{', '.join(files[:SHOWN])}{more} changed since"
    for name in MACHINE:
        if record[name] != today[name]:
            yield "machine", f"{name} was {record[name]} and is {today[name]}"
    for life in record["earlier"]:
        yield "machine", f"a part of the run had other {', '.join(life)}"
    then, now = record["versions"], today["versions"]
    for name in {**then, **now}:
        if then.get(name) != now.get(name):
            yield "versions", f"{name} was {then.get(name)} and is {now.get(name)}"


def _differing(run: Path, record: Record, study: Path, command: Sequence[str]) -> Iterator[str]:
    """Why the run is not what it was, in a sentence; nothing where it is."""
    again = (study / FOLDER / run.name).absolute()
    shutil.rmtree(again, ignore_errors=True)
    again.parent.mkdir(parents=True, exist_ok=True)
    words = [word for word in record["words"] if not word.startswith(OF_A_LIFE)]
    output = again.with_suffix(".out")
    with output.open("wb") as console:
        code = subprocess.run(
            [*command, *words, f"hydra.run.dir={again}"],
            env={**os.environ, "OMP_NUM_THREADS": str(record["threads"])},
            stdout=console,
            stderr=subprocess.STDOUT,
            check=False,
            preexec_fn=dying_with_parent(),
        ).returncode
    key = read_record(again).get("key", run.name)
    differing = [name for name in COMPARED if not _same(run / name, again / name)]
    if code:
        yield f"it failed with exit code {code}, see {output}"
    elif key != run.name:
        yield f"configs or data have changed: its words are those of the run {key} now"
    elif differing:
        yield f"{again / differing[0]} is not {run / differing[0]}"
    else:
        shutil.rmtree(again)
        output.unlink()


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()
