"""Runs the GPU tests and a training, each in a process of its own, and reads what they wrote."""

import argparse
import csv
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch

from experiments import steps
from experiments.gpu_report.sections import Results

ROOT = Path(__file__).parents[2]
GRACE = 15.0  # seconds from asking a process to stop until it is killed
FACTS = ("images_per_second", "images_seen", "steps", "epochs", "train_seconds",
         "evaluation_seconds", "memory", "precision", "workers", "metrics")  # fmt: skip


def gpu_tests(options: argparse.Namespace, seconds: float, results: Results) -> None:
    """Count the tests marked `gpu` that passed, failed and were skipped.

    Raises:
        RuntimeError: one failed, there are none, or they took longer than that.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "junit.xml"
        words = ["-m", "gpu", "-q", "-p", "no:cacheprovider", f"--junitxml={file}"]
        try:
            run(["-m", "pytest", *words, *options.tests], Path(folder), seconds)
        finally:
            if file.is_file():  # a run that was stopped writes it too
                results.update(counts(file))


def counts(file: Path) -> dict[str, Any]:
    """What a JUnit file says: passed, failed, skipped, and the names of those that failed."""
    cases = list(ElementTree.parse(file).getroot().iter("testcase"))
    failed = [c for c in cases if c.find("failure") is not None or c.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    return {
        "passed": len(cases) - len(failed) - skipped,
        "failed": len(failed),
        "skipped": skipped,
        "failures": [case.get("name") for case in failed],
    }


def training(
    options: argparse.Namespace, device: torch.device, seconds: float, results: Results
) -> None:
    """Train the first family on generated scenes for `train_seconds`, and read what it cost.

    Raises:
        RuntimeError: the run failed, or took longer than `seconds` with its start and evaluation.
    """
    with tempfile.TemporaryDirectory() as folder:
        words = training_words(options, device, Path(folder) / "run")
        results["words"] = words[:-1]  # but the folder, which is gone then
        try:
            run(["-m", "detectors", "train", *words], Path(folder), seconds)
        finally:
            results.update(costs(Path(folder) / "run"))


def training_words(options: argparse.Namespace, device: torch.device, folder: Path) -> list[str]:
    """What `detectors train` is told; the rate is nearly constant after a hundred steps."""
    family = options.families[0]
    side = steps.side_of(family, options.size)
    return [
        f"model={family}",
        *options.words,
        *("data=scenes", f"scenes.layout.side={side}", f"image_size={side}"),
        *(f"data.train.read.count={options.pictures}", "data.val.count=64"),
        *(f"data.batch_size={options.batch}", f"data.num_workers={options.workers}"),
        f"device={'gpu' if device.type == 'cuda' else device.type}",
        *("warmup=linear", "warmup.length=100", "trainer.max_epochs=10000"),
        *("trainer.check_val_every_n_epoch=10000", "trainer.num_sanity_val_steps=0"),
        f"+trainer.max_time={{seconds: {options.train_seconds}}}",
        *("latency=false", "report=false", f"hydra.run.dir={folder}"),
    ]


def costs(folder: Path) -> dict[str, Any]:
    """Of a run folder: facts of its `run.json`, and the mean loss of its first and last epoch.

    Nothing where the run has not begun. An epoch that the end of the time cut short is no last one,
    unless it is the only one.
    """
    if not (folder / "run.json").is_file():
        return {}
    told = json.loads((folder / "run.json").read_text())
    found = {name: told.get(name) for name in FACTS}
    table = folder / "metrics.csv"
    rows = list(csv.DictReader(table.open())) if table.is_file() else []
    if not rows:
        return found
    length = int(rows[0]["step"])  # of an epoch, unless it is the only one
    whole = [row for row in rows if int(row["step"]) % length == 0]
    losses = {"loss_first": whole[0]["train/loss"], "loss_last": whole[-1]["train/loss"]}
    return {**found, **{name: float(loss) for name, loss in losses.items()}}


def run(words: Sequence[str], folder: Path, seconds: float) -> None:
    """Run Python with these words in the checkout; its output is shown if it fails.

    After that many seconds it is interrupted, as by Ctrl-C, and killed if that does not end it.

    Raises:
        RuntimeError: it failed or was interrupted; the message has the end of its output.
    """
    log = folder / "log.txt"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            code, end = process.wait(seconds), ""
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            code, end = process.wait(GRACE), f"interrupted after {seconds:g} s, "
        finally:
            process.kill()
            process.wait()
    if code or end:
        said = log.read_text(errors="replace")
        print(said, file=sys.stderr)
        last = " / ".join(said.split("\n")[-6:]).strip(" /")
        raise RuntimeError(f"{end}exit code {code}: {last}")
