"""Tells what a run needed, what there was and what helps, where memory did not suffice."""

import contextlib
import re
from collections.abc import Iterator

import torch

from detectors.data.shared_memory import MORE, SHARED, megabytes, space

_GPU = re.compile(
    r"Tried to allocate ([\d.]+ \w+).*?total capacity of ([\d.]+ \w+) of which ([\d.]+ \w+)"
)
_BATCH = re.compile(r"shared memory for a batch of (\d+) bytes")
_HOST = re.compile(r"can't allocate memory.*?allocate (\d+) bytes")


class TooLittleMemory(OSError):
    """The same words need as much memory again; by this name runners of studies know it."""


@contextlib.contextmanager
def memory_told() -> Iterator[None]:
    """Raise TooLittleMemory with a sentence in the place of torch's errors about memory."""
    try:
        yield
    except RuntimeError as error:
        told = sentence(error)
        if told is None:
            raise
        raise TooLittleMemory(told) from error


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
        room = space()
        there = ""
        if room is not None:
            there = f"{SHARED} has {megabytes(room[0])}, {megabytes(room[1])} of them free now. "
        batch = _BATCH.search(message)
        needed = f"{megabytes(int(batch[1]))} more were needed for a batch, " if batch else ""
        return (
            "the shared memory of this machine does not suffice for what workers hand over: "
            f"{needed}{there}Set data.num_workers=0, which needs none, lower "
            f"data.batch_size or data.num_workers, or {MORE}"
        )
    return None
