"""Measures the time that trained detectors take for one picture, and counts their parameters.

Each checkpoint's detector sees the validation pictures of its own data one by one and runs as in
`detectors evaluate`: from uint8 on the canvas to detections, channels last, in bf16 if the
processor supports it. Reading and resizing are not counted. All detectors see the first picture,
then the second, and so on, so that other work of the machine affects all of them alike.
"""

import argparse
import itertools
import statistics
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from omegaconf import OmegaConf
from rich.progress import track
from rich.table import Table

from detectors.engine.console import console
from detectors.engine.hardware import has_bf16, torch_device
from detectors.engine.restoring import restored_data, restored_detector
from detectors.measuring import seconds_in_turn
from detectors.structures import Batch
from detectors.weights.checkpoint import load_checkpoint


def main(argv: Sequence[str] | None = None) -> None:
    """Print a row for each checkpoint."""
    options = arguments(argv)
    if options.threads:
        torch.set_num_threads(options.threads)
    device = torch_device(options.device)
    named = {str(file): prepared(file, device) for file in options.checkpoints}
    calls = {name: call for name, (call, _) in named.items()}
    for call in calls.values():  # warms up
        call()
    rounds = track(range(options.pictures), "pictures:", console=console())
    seconds = seconds_in_turn(calls, rounds, device)
    grid = Table("checkpoint", "parameters", "ms a picture")
    for name, (_, parameters) in named.items():
        grid.add_row(name, f"{parameters:,}", f"{1000 * statistics.median(seconds[name]):.0f}")
    console().print(grid)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.benchmark latency",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("checkpoints", nargs="+", type=Path, metavar="FILE")
    add("--pictures", type=int, default=20, help="number timed, after an untimed one (default: 20)")
    add("--threads", type=int, default=2, help="threads of torch; 0: its own choice (default: 2)")
    add("--device", default="cpu", help="cpu, gpu or auto (default: cpu)")
    return parser.parse_args(argv)


def prepared(file: Path, device: torch.device) -> tuple[Callable[[], object], int]:
    """A call that detects objects in the next picture, and the number of parameters."""
    checkpoint = load_checkpoint(file)
    detector = restored_detector(checkpoint, []).eval().to(device)
    detector = detector.to(memory_format=torch.channels_last)
    changes = OmegaConf.create({"data": {"batch_size": 1, "num_workers": 0}})
    data = restored_data(checkpoint, changes, [])
    batches = itertools.cycle(list(data.val_dataloader()))
    parameters = sum(parameter.numel() for parameter in detector.parameters())
    return partial(_detect, detector, batches, device), parameters


@torch.inference_mode()
def _detect(detector: torch.nn.Module, batches: Iterator[Batch], device: torch.device) -> object:
    batch = next(batches)
    with torch.autocast(device.type, torch.bfloat16, enabled=has_bf16(device.type)):
        return detector(batch.images.to(device), batch.frames.to(device))
