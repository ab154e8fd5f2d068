"""Compares what workers and caches need with the shared memory that there is."""

import mmap
import multiprocessing
import os
import tempfile
from collections.abc import Mapping
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

SHARED = Path("/dev/shm")  # files here are memory (Linux)
MORE = "give a container more: docker run --shm-size=2g"


def space() -> tuple[int, int] | None:
    """Bytes of the shared memory and those of them that are free; None where that is unknown."""
    if not SHARED.is_dir():
        return None
    place = os.statvfs(SHARED)
    return place.f_blocks * place.f_frsize, place.f_bavail * place.f_frsize


def workers_are_forked() -> bool:
    """Whether processes that are started inherit the memory of this one, as on Linux."""
    return multiprocessing.get_start_method() == "fork"


def check_fits(needs: Mapping[str, int]) -> None:
    """Refuse a run that will need more than is free.

    Args:
        needs: bytes by what needs them.

    Raises:
        ValueError: names every need, the memory that is free and the words that need less.
    """
    found = space()
    if found is None or sum(needs.values()) <= found[1]:
        return
    told = " and ".join(f"{megabytes(count)} for {name}" for name, count in needs.items() if count)
    raise ValueError(
        f"{SHARED} has {megabytes(found[1])} of shared memory free, but the run needs {told}: set "
        "data.cache=null or data.num_workers=0, lower data.batch_size or image_size, or " + MORE
    )


class Shared:
    """A tensor in shared memory, for another process of this machine to open.

    A worker makes it itself, because the thread of its queue, which otherwise would, drops what
    does not fit, and the run waits for ever. Where shared memory has files, it is written as one: a
    tensor that is mapped first takes twice as long, one interrupt for each page.

    Args:
        tensor: on the CPU, its elements without gaps in some order of its axes.

    Raises:
        RuntimeError: there is too little; names the bytes.
    """

    def __init__(self, tensor: Tensor) -> None:
        self.form = tensor.dtype, tensor.shape, tensor.stride()
        try:
            self.memory = _written(tensor) if SHARED.is_dir() else tensor.share_memory_()
        except (RuntimeError, OSError) as error:
            raise RuntimeError(
                f"no shared memory for a batch of {tensor.nbytes} bytes: {error}"
            ) from error

    def __reduce__(self) -> tuple[Any, ...]:
        mapped = isinstance(self.memory, Tensor)
        memory = self.memory if mapped else DupFd(self.memory.fileno())
        return _opened, (memory, self.form)

    def tensor(self) -> Tensor:
        """The tensor, which may be written to; its memory is given back with it."""
        if isinstance(self.memory, Tensor):
            return self.memory
        dtype, shape, stride = self.form
        flat = torch.frombuffer(mmap.mmap(self.memory.fileno(), 0), dtype=dtype)
        return flat.as_strided(shape, stride)


def _written(tensor: Tensor) -> IO[bytes]:
    """A file of shared memory without a name that has the elements of a tensor."""
    file = tempfile.TemporaryFile(dir=SHARED, buffering=0)  # noqa: SIM115 (it is handed on)
    left = tensor.as_strided((tensor.numel(),), (1,)).numpy().data.cast("B")
    while left:
        left = left[file.write(left) :]
    return file


def _opened(memory: Any, form: tuple[Any, ...]) -> Shared:
    shared = Shared.__new__(Shared)
    shared.form = form
    shared.memory = memory if isinstance(memory, Tensor) else os.fdopen(memory.detach(), "r+b")
    return shared


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
