"""Takes the next picture in the place of one that cannot be read, and counts how many there are."""

import logging
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

import numpy as np

from detectors.data.ranges import check, within
from detectors.data.sources.annotations import examples
from detectors.data.sources.base import Unreadable

_log = logging.getLogger(__name__)
_Made = TypeVar("_Made")


class Readable(Protocol):
    """Pictures by number, as a `Source` has them."""

    def __len__(self) -> int: ...

    def image(self, index: int) -> np.ndarray: ...


class Tally:
    """The pictures of a training that could not be read, by one of its processes.

    Args:
        pictures: of the training.
        share: of them that may be unreadable.
    """

    def __init__(self, pictures: Readable, share: float) -> None:
        self.pictures = pictures
        self.share = share
        self.most = math.floor(share * len(pictures) + 1e-9)  # 0.29 * 100 is below 29
        self.rows: set[int] = set()

    def count(self, rows: Iterable[int]) -> None:
        """Names in the log what was not known to be unreadable.

        Args:
            rows: of pictures that others have taken the place of.

        Raises:
            ValueError: there are more than the share.
        """
        for row in sorted(set(rows) - self.rows):
            self.rows.add(row)
            reason = _reason(self.pictures, row) or f"picture {row} was read at the second try only"
            if len(self.rows) > self.most:
                raise ValueError(self.refusal(len(self.rows), reason))
            told = "%s; the next picture takes its place (%d such pictures, at most %d)"
            _log.warning(told, reason, len(self.rows), self.most)

    def refusal(self, count: int, reason: str) -> str:
        """Why the training stops."""
        return (
            f"{count} of {len(self.pictures)} training pictures cannot be read, more than "
            f"data.max_unreadable={self.share} allows, which is {self.most}: {reason}; "
            "data.read_all=true names all of them before a run"
        )


def first_readable(
    start: int, pictures: int, tally: Tally | None, make: Callable[[int], _Made]
) -> tuple[_Made, tuple[int, ...]]:
    """What `make` gives for the first picture from `start` on that can be read.

    It depends on the files alone, so it is the same in any process and in a resumed run.

    Args:
        start: number of the picture.
        pictures: how many there are; the first follows the last.
        tally: how many may be unreadable; None: none.

    Returns:
        That, and the numbers of the pictures that cannot be read.

    Raises:
        Unreadable: there are more.
    """
    lost: list[int] = []
    while True:
        row = (start + len(lost)) % pictures
        try:
            return make(row), tuple(lost)
        except Unreadable as error:
            lost.append(row)
            if tally is None:
                raise
            if len(lost) > tally.most:
                raise Unreadable(tally.refusal(len(lost), str(error))) from error


def check_share(share: float) -> None:
    """Raises ValueError for what is no share of pictures that may be unreadable."""
    check("data", within("max_unreadable", share, "[0, 1)"))


def check_readable(pictures: Readable, rows: Sequence[int], origin: str) -> None:
    """Decodes pictures before a run, to find all that cannot be read.

    Args:
        rows: which pictures.
        origin: what they are, for messages.

    Raises:
        ValueError: some cannot be read; the message says how many and names the first.
    """
    _log.info("reading %d %s pictures", len(rows), origin)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        reasons = [found for found in pool.map(lambda row: _reason(pictures, row), rows) if found]
    if reasons:
        raise ValueError(
            f"{len(reasons)} of {len(rows)} {origin} pictures cannot be read: {examples(reasons)}"
        )


def _reason(pictures: Readable, row: int) -> str | None:
    """Why a picture cannot be read; None if it can."""
    try:
        pictures.image(row)
    except Unreadable as error:
        return str(error)
    return None
