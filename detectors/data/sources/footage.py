"""The contract of what objects are to be found in, and its simplest form, a picture file."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol

from detectors.data.sources.base import Unreadable
from detectors.data.sources.images import decoded, encoded
from detectors.structures import Lost, Picture

Task = Callable[[], Picture | Lost]


class Span(NamedTuple):
    """Which frames of a video or camera are used."""

    every: int = 1  # the first one of so many
    frames: int | None = None  # at most so many of each video
    seconds: float | None = None  # those before this time

    def most(self, frames: int, rate: float | None) -> int:
        """How many are used of a video with so many frames, so many a second."""
        if self.seconds is not None and rate is not None:
            frames = min(frames, round(self.seconds * rate))
        used = -(-frames // self.every)
        return used if self.frames is None else min(used, self.frames)


class Footage(Protocol):
    """Pictures without annotations, of which the number may be unknown."""

    @property
    def moving(self) -> bool:
        """Whether there may be videos in it, of which a span chooses the frames."""
        ...

    def expected(self, span: Span) -> int | None:
        """About how many pictures there will be; None: nobody knows."""
        ...

    def tasks(self, span: Span) -> Iterator[Task]:
        """What gives the pictures, in order; a task may run in a thread beside the next ones."""
        ...


@dataclass(frozen=True)
class PictureFile:
    """One picture, turned as its EXIF orientation says."""

    path: str
    moving = False

    def __str__(self) -> str:
        return self.path

    def expected(self, span: Span) -> int:
        return 1

    def tasks(self, span: Span) -> Iterator[Task]:
        yield partial(_read, self.path)


def _read(path: str) -> Picture | Lost:
    try:
        return Picture(path, decoded(encoded(path), path, upright=True))
    except Unreadable as error:
        return Lost(path, str(error))
