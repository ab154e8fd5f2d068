"""Reads pictures without annotations ahead of the detector, and puts them into batches."""

import itertools
import logging
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

from detectors.data.augment.transforms import Resize
from detectors.data.collate import collated
from detectors.data.dataset import without_objects
from detectors.data.sources.annotations import examples
from detectors.data.sources.footage import Footage, Span, Task
from detectors.structures import Batch, Lost, Picture, Sample

THREADS = 4  # that decode and resize; OpenCV lets others run meanwhile

_log = logging.getLogger(__name__)


class Prepared(NamedTuple):
    """A picture as it is, and on the canvas of the network."""

    picture: Picture
    sample: Sample


class Unread:
    """Counts what is read and what cannot be."""

    def __init__(self) -> None:
        self.read = self.lost = 0
        self.names: list[str] = []
        self.reason = "source: there was no path on standard input"  # of the first one

    def readable(self, items: Iterable[Prepared | Lost]) -> Iterator[Prepared]:
        """The items that are not lost; of each that is, a line of the log says why."""
        for item in items:
            if isinstance(item, Lost):
                _log.warning("%s", item.reason)
                self.reason = self.reason if self.lost else item.reason
                self.lost += item.pictures
                self.names.append(item.name)
            else:
                self.read += 1
                yield item

    def told(self) -> str:
        """`2 of 50 could not be read: a.jpg, b.jpg`; empty where all could."""
        if not self.lost:
            return ""
        names = examples(list(dict.fromkeys(self.names)))
        return f"{self.lost} of {self.read + self.lost} could not be read: {names}"

    def check(self) -> None:
        """Raises ValueError where nothing could be read."""
        if not self.read:
            raise ValueError(f"{self.told()}; {self.reason}" if self.lost else self.reason)


def expected(footage: Iterable[Footage], span: Span) -> int | None:
    """About how many pictures there will be; None: nobody knows."""
    counts = [item.expected(span) for item in footage]
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def read_ahead(
    footage: Iterable[Footage], span: Span, resize: Resize, ahead: int
) -> Generator[Prepared | Lost, None, None]:
    """The pictures in order; threads prepare so many of them while the earlier ones are used.

    Files are opened and frames are taken in the thread that iterates.
    """
    tasks = itertools.chain.from_iterable(item.tasks(span) for item in footage)
    waiting: deque[Future[Prepared | Lost]] = deque()
    with ThreadPoolExecutor(THREADS) as pool:
        for task in tasks:
            waiting.append(pool.submit(_prepared, task, resize))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _prepared(task: Task, resize: Resize) -> Prepared | Lost:
    read = task()
    return (
        read if isinstance(read, Lost) else Prepared(read, resize(without_objects(read.image, 0)))
    )


def in_batches(
    prepared: Iterator[Prepared], batch_size: int
) -> Iterator[tuple[list[Picture], Batch]]:
    """So many pictures at a time, fewer at the end, with their batch, whose ids are 0, 1, ..."""
    while some := list(itertools.islice(prepared, batch_size)):
        samples = [item.sample._replace(id=place) for place, item in enumerate(some)]
        yield [item.picture for item in some], collated(samples)
