"""Tells what a run needed, what there was and what helps, where memory did not suffice."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import torch

SHARED = Path("/dev/shm")  # through which workers hand over batches
_GPU = re.compile(
    r"Tried to allocate ([\d.]+ \w+).*?total capacity of ([\d.]+ \w+) of which ([\d.]+ \w+)"
)
_HOST = re.compile(r"can't allocate memory.*?allocate (\d+) bytes")


@contextlib.contextmanager
def memory_told() -> Iterator[None]:
    """Raise OSError with a sentence in the place of torch's errors about memory."""
    try:
        yield
    except RuntimeError as error:
        told = sentence(error)
        if told is None:
            raise
        raise OSError(told) from error


def sentence(error: RuntimeError) -> str | None:
    """What is told of an error of torch; None where it is about something else."""
    message = " ".join(str(error).split())
    if isinstance(error, torch.OutOfMemoryError):
        numbers = _GPU.search(message)
        found = message
        if numbers:
            found = f"{numbers[1]} more were needed, {numbers[3]} of {numbers[2]} were free"
        return (
            f"the memory of the GPU does not suffice: {found}. Lower data.batch_size (with "
            "trainer.accumulate_grad_batches=2 half of it learns alike) or image_size, or set "
            "precision=bf16-mixed"
        )
    if host := _HOST.search(message):
        return (
            f"the memory of this machine does not suffice: {int(host[1]) / 1e9:.2f} GB more were "
            "needed. Lower data.batch_size, image_size or data.num_workers"
        )
    if "shared memory" in message or "Bus error" in message or "</torch_" in message:
        place = os.statvfs(SHARED)
        size, free = (n * place.f_frsize / 1e6 for n in (place.f_blocks, place.f_bavail))
        return (
            f"the shared memory of this machine does not suffice for what workers hand over: "
            f"{SHARED} has {size:,.0f} MB, {free:,.0f} MB of them free now. Lower data.batch_size "
            "or data.num_workers (0 needs none), or give a container more: docker run --shm-size=2g"
        )
    return None
