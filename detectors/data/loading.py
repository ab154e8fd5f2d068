"""Settings that all loaders share: batches, worker processes and memory."""

import atexit
import signal
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.util import Finalize
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader

from detectors.data.allocator import keep_freed_memory
from detectors.data.collate import parcel
from detectors.data.ranges import check, whole

PREFETCHED = 2  # batches that each worker has ready


class Loader(DataLoader):
    """A loader that counts pictures which others replaced, where its data set has a `tally`.

    An error of a worker is told as it was raised, in one line, and ends all workers: once Python
    has collected their queues in its own order they no longer hear that they shall end, and it
    waits ten seconds for each.
    """

    _ahead: tuple[tuple[int, int], Iterator[Any]] | None = None  # where it begins

    def begin(self) -> None:
        """Let the workers prepare the first batches of an epoch before somebody iterates.

        Who then iterates over another epoch, or from elsewhere in it, gets the batches of that. The
        random numbers of the process are drawn as if nothing had begun.
        """
        epoch, start = self._place()
        if self.persistent_workers and not start:
            with torch.random.fork_rng(devices=()):
                self._ahead = (epoch, start), self._batches()

    def _place(self) -> tuple[int, int]:
        """What the sampler's next keys depend on: the epoch, and how many batches are skipped."""
        return getattr(self.sampler, "epoch", 0), getattr(self.sampler, "start", 0)

    def _batches(self) -> Iterator[Any]:
        batches = super().__iter__()
        if self not in _OPENED:
            _OPENED.add(self)
            atexit.register(_end_workers)  # before torch's own, which it has just registered
            Finalize(None, _end_workers, exitpriority=_BEFORE_QUEUES)
        return batches

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        ahead, self._ahead = self._ahead, None
        if ahead is not None:
            torch.empty((), dtype=torch.int64).random_()  # as torch draws where workers start
        batches = ahead[1] if ahead is not None and ahead[0] == self._place() else self._batches()
        tally = getattr(self.dataset, "tally", None)
        try:
            for batch in _told_plainly(batches):
                if tally is not None:
                    tally.count(batch.unreadable.tolist())
                yield batch
        except Exception:
            self._end_workers()
            raise

    def _end_workers(self) -> None:
        if self._iterator is not None:
            self._iterator._shutdown_workers()  # type: ignore[attr-defined]
            self._iterator = None


_OPENED: weakref.WeakSet[Loader] = weakref.WeakSet()
_BEFORE_QUEUES = 20  # multiprocessing closes them with 10, and they carry the word to end


def _end_workers() -> None:
    """Let the workers end before Python does.

    It would send each one SIGTERM, of which they take no notice (`begin_worker`), and wait for
    ever. A process that multiprocessing has started runs its finalizers only, any other one atexit
    first.
    """
    for loader in list(_OPENED):
        loader._end_workers()


def _told_plainly(batches: Iterator[Any]) -> Iterator[Any]:
    """The batches; torch writes the trace of a worker into the message, and this takes it out."""
    try:
        yield from batches
    except ValueError as error:
        if not str(error).startswith("Caught "):
            raise
        last = str(error).rstrip().splitlines()[-1]
        raise type(error)(last.partition(": ")[2]) from error
    except (ConnectionError, EOFError) as error:
        raise RuntimeError(
            "a worker process ended while it handed over a batch: it was killed, or memory ran out "
            "(see the system's log); lower data.num_workers, or set it to 0 to see its error"
        ) from error


def check_loading(batch_size: int, num_workers: int) -> None:
    """Refuses numbers with which there is no batch, or nobody to prepare it.

    Raises:
        ValueError: `batch_size` is below 1, or `num_workers` below 0.
    """
    check("data", whole("batch_size", batch_size, 1), whole("num_workers", num_workers, 0))


def loader_arguments(
    batch_size: int, num_workers: int, collate: Callable[..., Any]
) -> dict[str, Any]:
    """Arguments of a `DataLoader`.

    Args:
        batch_size: pictures per device.
        num_workers: processes that prepare batches; 0: the main one does.
        collate: makes a batch of samples.
    """
    return {
        "batch_size": batch_size,
        "num_workers": num_workers,
        "collate_fn": partial(parcel, collate) if num_workers else collate,
        "prefetch_factor": PREFETCHED if num_workers else None,
        "worker_init_fn": begin_worker,
        "persistent_workers": num_workers > 0,
        "pin_memory": torch.cuda.is_available(),
    }


def on_their_way(pictures: int, batch_size: int, num_workers: int, pixels: int) -> dict[str, int]:
    """Bytes of shared memory for the batches of a loader that are ready, as `check_fits` takes it.

    Args:
        pictures: of the split.
        batch_size: pictures per device.
        num_workers: processes that prepare batches.
        pixels: of the largest picture in a batch.
    """
    ready = min(pictures, num_workers * PREFETCHED * batch_size)
    what = f"the batches of data.num_workers={num_workers}, {PREFETCHED} of {batch_size} each"
    return {what: ready * pixels * 3}


_KEPT, _LARGEST = 2**28, 2**26  # bytes of freed memory, and of a block of it, that a worker keeps


def begin_worker(worker: int) -> None:
    """Keeps OpenCV from starting as many threads as there are cores in every worker.

    A signal to all processes of a run is for the main one, which needs the workers for the step
    that it ends: they take no notice of Ctrl+C, nor of the first SIGTERM.
    """
    cv2.setNumThreads(0)
    keep_freed_memory(_KEPT, _LARGEST)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
