"""Frames of a camera, until a number, a time or Ctrl+C ends them."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from detectors.data.sources.footage import Span, Task
from detectors.data.sources.videos import frame_tasks, frames_of, opened, rate_of
from detectors.structures import Lost


@dataclass(frozen=True)
class Camera:
    """The frames of a camera until its span ends, or Ctrl+C, of which a second one ends the run.

    Times are those of a clock, because a frame that nobody takes in time is lost.
    """

    number: int
    moving = True

    def __str__(self) -> str:
        return f"camera_{self.number}"

    def expected(self, span: Span) -> int | None:
        return span.frames if span.seconds is None else None

    def tasks(self, span: Span) -> Iterator[Task]:
        with opened(self.number) as capture, _until_interrupted() as interrupted:
            if not capture.isOpened():
                yield partial(Lost, str(self), _closed(self.number))
                return
            frames = frames_of(capture, span, _stopwatch(), interrupted=interrupted)
            read = yield from frame_tasks(str(self), frames, rate_of(capture, span.every))
            if read is not None and not interrupted():
                reason = f"{self} gave nothing more after {read} frames; is it still connected?"
                yield partial(Lost, str(self), reason)


def _closed(number: int) -> str:
    return (
        f"camera {number} cannot be opened, and there is no file or folder called {number}; "
        "cameras are numbered from 0: is it connected, and used by nothing else?"
    )


def _stopwatch() -> Callable[[int], float]:
    """Seconds since it was asked for the frame 0."""
    began = 0.0

    def elapsed(number: int) -> float:
        nonlocal began
        now = time.monotonic()
        began = began if number else now
        return now - began

    return elapsed


@contextmanager
def _until_interrupted() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl+C was pressed; the second time it does what it did before."""
    pressed = threading.Event()
    before: Any = None

    def note(*_: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is threading.main_thread():
        before = signal.signal(signal.SIGINT, note)
    try:
        yield pressed.is_set
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
