"""Frames of video files, read one after the other by OpenCV."""

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from detectors.data.sources.footage import Span, Task
from detectors.data.sources.text import check_ordinary
from detectors.structures import Lost, Picture

VIDEOS = (  # suffixes
    *(".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".wmv", ".flv"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".3gp", ".ogv"),
)
COUNTED = (".mp4", ".m4v", ".mov", ".avi", ".3gp")  # have a table of their frames
FASTEST = 240.0  # frames a second; what a file says beyond that is a time base
TRIES = 100  # OpenCV says of a damaged frame what it says of the end: that there is none
SHORT = 0.5  # seconds that other files may end before the time that they state

_log = logging.getLogger(__name__)


class Frame(NamedTuple):
    """A frame as OpenCV gives it."""

    number: int  # among those that were read, from 0
    seconds: float
    image: np.ndarray | None  # [H, W, 3] uint8 BGR; None: it cannot be decoded


Frames = Generator[Frame, None, int | None]


@dataclass(frozen=True)
class VideoFile:
    """The frames of a video, turned as the file says."""

    path: str
    moving = True

    def __str__(self) -> str:
        return self.path

    def expected(self, span: Span) -> int | None:
        if _no_file(self.path):
            return 1
        with opened(self.path) as capture:
            count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            return span.most(count, rate_of(capture)) if count > 0 else None

    def tasks(self, span: Span) -> Iterator[Task]:
        if reason := _no_file(self.path):
            yield partial(Lost, self.path, reason)
            return
        with opened(self.path) as capture:
            if not capture.isOpened():
                yield partial(Lost, self.path, f"{self.path}: OpenCV cannot read this video")
                return
            frames = frames_of(capture, span, _shown(capture), TRIES)
            read = yield from frame_tasks(self.path, frames, rate_of(capture, span.every))
            yield from _missing(self.path, capture, read)


@contextmanager
def opened(place: str | int) -> Iterator[cv2.VideoCapture]:
    """A file or camera, whether OpenCV can read it or not."""
    capture = cv2.VideoCapture(place)
    try:
        yield capture
    finally:
        capture.release()


def _no_file(path: str) -> str:
    """Why nothing can be opened there; empty if something can."""
    try:
        check_ordinary(path)
    except (OSError, ValueError) as error:
        return f"{path}: {error}"
    return ""


def rate_of(capture: cv2.VideoCapture, every: int = 1) -> float | None:
    """Frames a second, of those used; None where it is not said."""
    rate = capture.get(cv2.CAP_PROP_FPS)
    return rate / every if 0 < rate <= FASTEST else None


def _shown(capture: cv2.VideoCapture) -> Callable[[int], float]:
    """When the frame that was read last is shown, in seconds; by its number where nothing tells."""
    rate = rate_of(capture)

    def seconds(number: int) -> float:
        told = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return told if told > 0 or rate is None else number / rate

    return seconds


def frames_of(
    capture: cv2.VideoCapture,
    span: Span,
    clock: Callable[[int], float],
    tries: int = 1,
    interrupted: Callable[[], bool] = lambda: False,
) -> Frames:
    """The frames of the span; returns how many were read, or None where the span ended them.

    Args:
        clock: the time of the frame with a number, asked when it was read.
        tries: the end is where so many in a row are not there.
        interrupted: whether nothing more is to be read.
    """
    number = used = 0
    while not interrupted():
        if used == span.frames:
            return None
        if not any(capture.grab() for _ in range(tries)):
            break
        seconds = clock(number)
        if span.seconds is not None and seconds >= span.seconds:
            return None
        if number % span.every == 0:
            used += 1
            decoded, image = capture.retrieve()
            yield Frame(number, seconds, image if decoded else None)
        number += 1
    return number


def frame_tasks(name: str, frames: Frames, rate: float | None) -> Generator[Task, None, int | None]:
    """What gives a picture of each frame; returns as `frames_of`."""
    while True:
        try:
            frame = next(frames)
        except StopIteration as end:
            return end.value
        if frame.image is None:
            yield partial(Lost, name, f"{name}: frame {frame.number} cannot be decoded")
        else:
            yield partial(_picture, name, frame.image, frame, rate)


def _picture(name: str, image: np.ndarray, frame: Frame, rate: float | None) -> Picture:
    colours = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return Picture(name, colours, frame.number, frame.seconds, rate)


def _missing(path: str, capture: cv2.VideoCapture, read: int | None) -> Iterator[Task]:
    """Tells of frames that a file should have; OpenCV leaves those out that it cannot decode."""
    if read is None:
        return
    count, rate = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), not read), rate_of(capture)
    if read < count and (not read or Path(path).suffix.lower() in COUNTED):
        reason = (
            f"{path}: {read} of its {count} frames can be decoded, by which they are numbered; it "
            "is damaged, truncated or cut"
        )
        yield partial(Lost, path, reason, count - read)
    elif rate and (count - read) / rate > SHORT:
        told = "%s: its frames end after %.1f of %.1f seconds; it may be truncated"
        _log.warning(told, path, read / rate, count / rate)
