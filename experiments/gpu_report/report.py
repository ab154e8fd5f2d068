"""Reports on one GPU in at most ten minutes: what works, how fast it is, and what takes the time.

The sections are the GPU tests; a race of training steps, ours eager and compiled and torchvision's;
the synchronisations of a step with the host; a profile of a step; the loader; and a training of the
first family on generated scenes. Each has a time budget, and one that fails does not keep the
others from running. Writes a json file named after date and time, prints a table for
experiments/LOG.md, and exits with 1 if a section failed.
"""

import argparse
import datetime
import gc
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from detectors.engine.console import console
from detectors.engine.hardware import has_bf16, torch_device
from detectors.engine.run_folder import environment, write_json
from detectors.measuring import processor
from experiments import loader, steps
from experiments.gpu_report import programs, race, step
from experiments.gpu_report.sections import Results, Section, each, outcome
from experiments.gpu_report.tables import TABLES, markdown

# Seconds; a training takes START more than it trains, for its start and evaluation.
BUDGETS = {"tests": 130, "race": 190, "synchronisations": 30, "profile": 30, "loader": 30}
START = 60
LOADED = 512  # pictures of the loader, 630 MB in its cache at 640 px


def main(argv: Sequence[str] | None = None) -> dict[str, Any]:
    """Write and print what the command line asks for, and return it; nothing without a GPU.

    Raises:
        SystemExit: with 1, a section failed.
    """
    options = arguments(argv)
    if options.device != "cpu" and not torch.cuda.is_available():
        print("torch sees no GPU here, so there is none to report on; --device cpu tries it all.")
        return {}
    device = torch_device(options.device)
    options.formats = options.formats or ["bf16" if has_bf16(device.type) else "fp32"]
    now = datetime.datetime.now(datetime.UTC)
    report = {
        "date": now.isoformat(timespec="seconds"),
        "processor": processor(device),
        "settings": {**vars(options), "into": str(options.into)},
        **environment(),
        "sections": {},
    }
    file = options.into / f"{now:%Y-%m-%d_%H-%M-%S}.json"
    options.into.mkdir(parents=True, exist_ok=True)
    for name, (section, budget) in chosen(options, device).items():
        console().rule(f"{name}, at most {budget:g} s")
        report["sections"][name] = outcome(section, budget)
        write_json(file, report)  # what was found so far, should the machine go
        free()
    print(f"\n{markdown(report)}\n\nwritten to {file}")
    if any(section["error"] for section in report["sections"].values()):
        raise SystemExit(1)
    return report


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark gpu",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--sections", nargs="+", choices=TABLES, default=list(TABLES), help="default: all")
    add("--budgets", nargs="+", default=[], type=seconds_of, metavar="SECTION=SECONDS",
        help=f"default: {' '.join(f'{k}={v}' for k, v in BUDGETS.items())}, and the training as "
        f"long as it takes and {START} s more")  # fmt: skip
    add("--device", default="auto", choices=["auto", "gpu", "cpu"], help="cpu: to try the report")
    add("--into", type=Path, default=Path("experiments/gpu"), metavar="FOLDER",
        help="where the json file goes (default: experiments/gpu)")  # fmt: skip
    add("--tests", nargs="+", default=["tests"], metavar="PATH", help="where the GPU tests are")
    add_steps(add)
    add_data(add)
    return parser.parse_args(argv)


def add_steps(add: Callable[..., Any]) -> None:
    """Options of the race, the synchronisations and the profile."""
    add("--families", nargs="+", default=["yolov3", "fcos", "faster_rcnn"], metavar="NAME",
        help="files of conf/model (default: yolov3 fcos faster_rcnn)")  # fmt: skip
    add("--words", nargs="+", default=[], metavar="WORD",
        help="of each of them, as size=small; it then races without torchvision's")  # fmt: skip
    add("--size", type=int, default=640, help="height and width in pixels (default: 640)")
    add("--batch", type=int, default=16, help="images per batch (default: 16)")
    add("--formats", nargs="+", choices=steps.FORMATS,
        help="default: bf16 where it is supported, else fp32")  # fmt: skip
    add("--compile", action=argparse.BooleanOptionalAction, default=True,
        help="race ours compiled too (default)")  # fmt: skip
    add("--work", nargs="+", choices=race.PASSES, default=["train"], help="default: train")
    add("--repeats", type=int, default=10, help="timed rounds of the race (default: 10)")
    add("--peak", type=float, help="TFLOP/s of the card in bf16, if its name is not known here")


def add_data(add: Callable[..., Any]) -> None:
    """Options of the loader and the training."""
    add("--pictures", type=int, default=4000,
        help=f"generated for training; the loader takes {LOADED} (default: 4000)")  # fmt: skip
    add("--workers", type=int, default=min(len(os.sched_getaffinity(0)), 16),
        help="worker processes (default: one a core, 16 at most)")  # fmt: skip
    add("--loader-seconds", type=float, default=5.0, help="with and without a cache (default: 5)")
    add("--train-seconds", type=int, default=120, help="of training (default: 120)")


def seconds_of(word: str) -> tuple[str, float]:
    """The section and the seconds of "SECTION=SECONDS".

    Raises:
        ValueError: there is no such section, or that is no number.
    """
    name, _, seconds = word.partition("=")
    if name not in TABLES:
        raise ValueError(f"{name}: expected one of {', '.join(TABLES)}")
    return name, float(seconds)


def chosen(options: argparse.Namespace, device: torch.device) -> dict[str, tuple[Section, float]]:
    """The sections that are asked for, each with its budget in seconds."""
    budgets = {**BUDGETS, "training": options.train_seconds + START, **dict(options.budgets)}
    # A program is interrupted so long before that it can end by itself.
    limits = {name: max(budgets[name] - programs.GRACE, 1) for name in ("tests", "training")}

    def of_steps(measured: Any, results: Results) -> None:
        families = options.families
        each(families, lambda f: measured(step.training_step(f, options, device), device), results)

    sections: dict[str, Section] = {
        "tests": partial(programs.gpu_tests, options, limits["tests"]),
        "race": partial(
            each, options.families, partial(race.raced, options=options, device=device)
        ),
        "synchronisations": partial(of_steps, step.synchronisations),
        "profile": partial(of_steps, step.profile),
        "loader": partial(loaded, options),
        "training": partial(programs.training, options, device, limits["training"]),
    }
    return {name: (sections[name], budgets[name]) for name in options.sections}


def loaded(options: argparse.Namespace, results: Results) -> None:
    """Measure the loader on generated scenes with mosaic, with and without a cache."""
    sizes = ["--size", options.size, "--batch", options.batch, "--workers", options.workers]
    count = min(options.pictures, LOADED)
    scenes = [f"scenes.layout.side={options.size}", f"data.train.read.count={count}"]
    words = [*scenes, "resize=stretch", "augment=color", "trick=[mosaic]"]
    given = loader.arguments(["--data", "scenes", *map(str, sizes), *words])
    caches = {"uncached": "null", "cached": "ram"}

    def measured(name: str) -> dict[str, float]:
        return loader.measured(loader.data(given, caches[name]), options.loader_seconds)

    each(caches, measured, results)


def free() -> None:
    """Give the GPU's memory back that the section before held."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
