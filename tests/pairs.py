"""Two processes that are one gloo group: that of the test, and one that it starts."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing

PATIENCE = timedelta(minutes=3)  # for the other one; gloo's own would be half an hour


def run_as_pair(work: Callable[..., None], folder: Path, *given: Any) -> None:
    """Runs `work(rank, folder, *given)` as ranks 0, which is this process, and 1.

    The other one is spawned. Forked from a process in which other tests have run, it would
    inherit locks that a thread held at that moment, and might wait for them for ever.
    """
    other = multiprocessing.start_processes(
        _second, (work, folder, given), nprocs=1, join=False, start_method="spawn"
    )
    try:
        _meet(0, work, folder, given)
    except Exception:
        other.join(10)  # raises what the other one raised, if that is why
        raise
    else:
        assert other.join(PATIENCE.total_seconds())
    finally:
        for process in other.processes:
            process.kill()


def _second(_: int, work: Callable[..., None], folder: Path, given: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    _meet(1, work, folder, given)


def _meet(rank: int, work: Callable[..., None], folder: Path, given: tuple[Any, ...]) -> None:
    store = dist.FileStore(str(folder / "meeting"), 2)
    dist.init_process_group("gloo", rank=rank, world_size=2, store=store, timeout=PATIENCE)
    try:
        work(rank, folder, *given)
    finally:
        dist.destroy_process_group()
