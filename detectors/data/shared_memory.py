"""Compares what workers and caches need with the shared memory that there is."""

import os
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

SHARED = Path("/dev/shm")  # files here are memory (Linux)
MORE = "give a container more: docker run --shm-size=2g"


def space() -> tuple[int, int] | None:
    """Bytes of the shared memory and those of them that are free; None where that is unknown."""
    if not SHARED.is_dir():
        return None
    place = os.statvfs(SHARED)
    return place.f_blocks * place.f_frsize, place.f_bavail * place.f_frsize


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


def share(images: Tensor) -> None:
    """Move a batch into shared memory.

    A worker does it itself, because the thread of its queue, which otherwise would, drops what does
    not fit, and the run waits for ever.

    Raises:
        RuntimeError: there is too little; names the bytes.
    """
    try:
        images.share_memory_()
    except RuntimeError as error:
        raise RuntimeError(
            f"no shared memory for a batch of {images.nbytes} bytes: {error}"
        ) from error


def megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
