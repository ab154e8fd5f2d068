"""Keeps the pictures that workers have read lately in memory that they share."""

import logging
import mmap
import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from detectors.data.recent import MOST, Recent

_log = logging.getLogger(__name__)

_PATIENCE = 5.0  # seconds for a lock that is held for microseconds
_NOWHERE = -1


class SharedRecent:
    """Pictures that any worker of a loader has read, until newer ones take their places.

    Workers prepare batches of one block of the epoch's order in turns, see `Neighbours`, so most
    partners of a mix were decoded by another one. A picture is the same whoever reads it: what is
    kept never changes a sample.

    The places are taken round and round. Their contents change outside of the lock: a place that is
    written to belongs to no picture, and who has copied one looks whether it is still the same. If
    a worker dies while it holds the lock, the others read for themselves from then on.

    Workers inherit it when they are forked. Sent to another process, it becomes a `Recent`.

    Args:
        sizes: [I, 2] height and width of what is kept of each picture.
        wanted: pictures that it is to hold; fewer if they take more than `MOST` bytes for each of
            `workers`. Then the largest are not kept if that makes room for more of the others.
        workers: processes that share it.
    """

    def __init__(self, sizes: np.ndarray, wanted: int, workers: int) -> None:
        self.sizes = sizes
        self._bytes, places = _divided(workers * MOST, sizes, min(wanted, len(sizes)))
        self._pixels = _memory(np.uint8, places * self._bytes).reshape(places, self._bytes)
        self._picture = _memory(np.int64, places)  # in each place
        self._writing = _memory(np.uint8, places)
        self._written = _memory(np.int64, places)  # how often each was
        self._place = _memory(np.int64, len(sizes))  # of each picture
        self._next = _memory(np.int64, 1)
        for numbers in (self._picture, self._place):
            numbers[:] = _NOWHERE
        self._lock = multiprocessing.get_context("fork").Lock()
        self._alone = places == 0

    def __reduce__(self) -> tuple[type[Recent], tuple[np.ndarray]]:
        return Recent, (self.sizes,)

    def image(self, index: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """[H, W, 3] uint8, the caller's own: the picture, made by `make` where it is not kept."""
        found = self._copied(index)
        if found is None:
            found = make()
            self._keep(index, found)
        return found

    def forget(self) -> None:
        """Let each picture be read anew."""
        with self._locked() as locked:
            if locked:
                self._picture[:] = _NOWHERE

    def _copied(self, index: int) -> np.ndarray | None:
        with self._locked() as locked:
            place = int(self._place[index]) if locked else _NOWHERE
            if place == _NOWHERE or self._picture[place] != index:
                return None
            before = int(self._written[place])
        copy = self._view(place, index).copy()
        with self._locked() as locked:
            same = locked and self._picture[place] == index and self._written[place] == before
        return copy if same else None

    def _keep(self, index: int, image: np.ndarray) -> None:
        if image.nbytes > self._bytes:
            return
        with self._locked() as locked:
            if not locked or self._kept(index):
                return
            place = int(self._next[0])
            self._next[0] = (place + 1) % len(self._picture)
            if self._writing[place]:
                return
            self._picture[place], self._writing[place] = _NOWHERE, True
            self._written[place] += 1
        self._view(place, index)[:] = image
        with self._locked() as locked:
            if locked:
                self._picture[place], self._place[index] = index, place
                self._writing[place] = False

    def _view(self, place: int, index: int) -> np.ndarray:
        """[H, W, 3] of a place, in the size of a picture."""
        height, width = self.sizes[index].tolist()
        return self._pixels[place, : 3 * height * width].reshape(height, width, 3)

    def _kept(self, index: int) -> bool:
        """Whether another one has kept it meanwhile."""
        place = self._place[index]
        return bool(place != _NOWHERE and self._picture[place] == index)

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Whether the lock could be had, which is held inside."""
        held = not self._alone and self._lock.acquire(timeout=_PATIENCE)
        if not held and not self._alone:
            _log.warning("a worker reads for itself: pictures are locked by one that may have died")
        self._alone = not held
        try:
            yield held
        finally:
            if held:
                self._lock.release()


def _divided(most: int, sizes: np.ndarray, wanted: int) -> tuple[int, int]:
    """Bytes of each place and how many there are, for as many requests as possible to be met.

    Args:
        most: bytes of all places.
        sizes: [I, 2] height and width of each picture, which are asked for equally often.
        wanted: the most places.
    """
    needed = np.sort(3 * sizes.prod(axis=1))[::-1]  # the largest first, which wins where equal
    places = np.minimum(wanted, most // needed)
    best = int(np.argmax(places * np.arange(len(needed), 0, -1)))
    return int(needed[best]), int(places[best])


def _memory(kind: type[np.generic], count: int) -> np.ndarray:
    """Zeros that processes share which are forked later; a page is taken when it is first used."""
    size = count * np.dtype(kind).itemsize
    return np.frombuffer(mmap.mmap(-1, max(size, 1)), kind, count)
