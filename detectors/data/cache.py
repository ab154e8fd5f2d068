"""Keeps pictures in memory once they were read, one copy for all processes of a machine."""

import logging
import math
import mmap
import os
import tempfile
from collections.abc import Callable

import numpy as np
import torch.distributed

from detectors.data.shared_memory import SHARED, check_fits, space, workers_are_forked

_log = logging.getLogger(__name__)


class Cache:
    """Pictures of known sizes in shared memory, each stored by whoever reads it first.

    Its file has no name any more once all processes of the machine have opened it, so that the
    memory is given back when the last of them ends, however it ends. Workers inherit it. All of it
    is taken at once, so that the caches of a run are counted together.

    Args:
        sizes: [I, 2] height and width of each picture.
        origin: what the pictures are, for messages.

    Raises:
        ValueError: they do not fit into the memory that is free, or workers would not inherit it.
    """

    def __init__(self, sizes: np.ndarray, origin: str) -> None:
        self.sizes = sizes
        self.offsets = np.concatenate([[0], np.cumsum(sizes.prod(axis=1) * 3)]).astype(np.int64)
        pictures = int(self.offsets[-1])
        _check(self.size(sizes), origin)
        memory = np.frombuffer(_shared(pictures + len(sizes)), np.uint8)
        self.pixels, self.stored = memory[:pictures], memory[pictures:]
        megabytes = math.ceil(pictures / 1e6)
        _log.info("data.cache=ram: %d MB for %d %s", megabytes, len(sizes), origin)

    @staticmethod
    def size(sizes: np.ndarray) -> int:
        """Bytes of shared memory that pictures of these sizes take."""
        return int(sizes.prod(axis=1).sum()) * 3 + len(sizes)

    def image(self, index: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """[H, W, 3] uint8, read-only: the picture, made by `make` where it is not stored yet.

        Two processes that make it at once write the same.
        """
        start, end = self.offsets[index : index + 2]
        view = self.pixels[start:end].reshape(*self.sizes[index], 3)
        if not self.stored[index]:
            view[:] = make()
            self.stored[index] = 1
        view.flags.writeable = False
        return view


def _check(size: int, origin: str) -> None:
    if space() is None or not workers_are_forked():
        raise ValueError(
            f"data.cache=ram needs {SHARED} and workers that are forked, as on Linux; leave it null"
        )
    check_fits({f"the {origin} of data.cache=ram": size})


def _shared(size: int) -> mmap.mmap:
    """`size` zero bytes of memory that all processes of this run on this machine share."""
    if not torch.distributed.is_initialized():
        with tempfile.TemporaryFile(dir=SHARED) as file:
            return _mapped(file.fileno(), size)
    return _shared_by_ranks(size)


def _shared_by_ranks(size: int) -> mmap.mmap:
    """The same for several ranks, all of which have to call it."""
    names: list[str | None] = [None] * torch.distributed.get_world_size()
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    mine = tempfile.mkstemp(dir=SHARED) if first else None
    here = f"{os.uname().nodename} "
    torch.distributed.all_gather_object(names, here + mine[1] if mine else None)
    (name,) = [found.removeprefix(here) for found in names if found and found.startswith(here)]
    descriptor = mine[0] if mine else os.open(name, os.O_RDWR)
    memory = _mapped(descriptor, size)
    os.close(descriptor)
    torch.distributed.barrier()
    if first:
        os.unlink(name)
    return memory


def _mapped(descriptor: int, size: int) -> mmap.mmap:
    os.posix_fallocate(descriptor, 0, size)  # now; what lacks later would kill by SIGBUS
    return mmap.mmap(descriptor, size)
