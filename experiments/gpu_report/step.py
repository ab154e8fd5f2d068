"""Looks into one training step: where the host waits for the GPU, and what takes the GPU's time."""

import argparse
import re
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity

import detectors
from detectors.layers.progress import tell
from detectors.measuring import synchronize
from detectors.structures import Progress
from experiments import steps

ROOT = Path(__file__).parents[2]
WAITED = "called a synchronizing CUDA operation"  # torch, c10/cuda/CUDAFunctions.h
OPERATORS = 20  # of a profile are kept
CONVOLUTION = re.compile(r"conv(?!ert)")  # cudnn_convolution, convolution_backward, deform_conv2d

Step = Callable[[], object]


def training_step(family: str, options: argparse.Namespace, device: torch.device) -> Step:
    """Forward pass, losses and backward pass of ours, eager, in the last of the formats.

    It has been called once, so that what happens in a first call only is not looked at.
    """
    torch.manual_seed(steps.SEED)
    side, classes = steps.side_of(family, options.size), steps.CLASSES
    images, targets = steps.examples(options.batch, side, classes, device)
    detector = detectors.build(family, options.words, num_classes=classes, image_size=side)
    tell(detector.to(device), Progress(images_seen=len(images), step=0, steps=1))
    ours = partial(steps.of_ours, detector, False)
    variant = steps.variant(ours, family, images, targets, classes, options.formats[-1])
    variant.model.train()
    call = partial(steps.once, variant, "train")
    call()
    return call


def synchronisations(step: Step, device: torch.device) -> dict[str, Any]:
    """How often a step makes the host wait for the GPU, as far as torch notices.

    Returns:
        `count`, and the `places` in Python, each with its number; on a CPU, which has nothing to
        wait for, both are None.
    """
    if device.type != "cuda":
        step()
        return {"count": None, "places": None}
    torch.cuda.set_sync_debug_mode("warn")
    try:
        places = waits(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return {"count": sum(places.values()), "places": dict(places.most_common())}


def waits(step: Step) -> Counter[str]:
    """How many warnings of synchronising operations came from each line "file:number"."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        step()
    told = [warning for warning in caught if WAITED in str(warning.message)]
    return Counter(f"{_short(warning.filename)}:{warning.lineno}" for warning in told)


def _short(name: str) -> str:
    """A file of ours relative to the checkout, another one by its last two names."""
    file = Path(name)
    ours = file.is_relative_to(ROOT) and "site-packages" not in file.parts
    return str(file.relative_to(ROOT)) if ours else "/".join(file.parts[-2:])


def profile(step: Step, device: torch.device) -> dict[str, Any]:
    """The operators that take most of the device's time, without that of operators they call.

    Returns:
        `seconds` of all operators, `convolutions`, their share of it, and of the twenty most
        expensive `operators` name, seconds, share and number of calls.
    """
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]
    with torch.profiler.profile(activities=activities) as recorded:
        step()
        synchronize(device)
    # Rows of the GPU are kernels, whose time the operator that has launched them counts too.
    rows: list[Any] = [r for r in recorded.key_averages() if r.device_type == DeviceType.CPU]
    seconds = {
        r.key: (r.self_device_time_total if cuda else r.self_cpu_time_total) / 1e6 for r in rows
    }
    whole = sum(seconds.values())
    if whole == 0:
        raise RuntimeError("the profiler has recorded no time of the device")
    first = sorted(rows, key=lambda row: -seconds[row.key])[:OPERATORS]
    convolutions = sum(taken for name, taken in seconds.items() if CONVOLUTION.search(name.lower()))
    return {
        "seconds": whole,
        "convolutions": convolutions / whole,
        "operators": [
            {"name": row.key, "seconds": seconds[row.key], "share": seconds[row.key] / whole,
             "calls": row.count} for row in first
        ],
    }  # fmt: skip
