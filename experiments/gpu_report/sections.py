"""Runs each section of a report for as long as it may take, and keeps what it found if it fails."""

import contextlib
import signal
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

Results = dict[str, Any]
Section = Callable[[Results], None]  # fills the results as it finds them


class OutOfTime(BaseException):
    """A section has used its time up. No `Exception`, so that no library in between handles it."""


def outcome(section: Section, budget: float) -> Results:
    """What a section found, and how it ended.

    Args:
        budget: seconds after which it is stopped.

    Returns:
        `results`, which are what was found until then if it failed; `error`, the text of what made
        it fail, or None; `seconds` and `budget`.
    """
    results: Results = {}
    error, start = None, time.perf_counter()
    try:
        with limited(budget):
            section(results)
    except (Exception, OutOfTime) as failure:
        traceback.print_exc()
        error = described(failure)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "budget": budget, "error": error, "results": results}


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """A block that `OutOfTime` ends after that many seconds; in the main thread only."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"stopped after its {seconds:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def each(names: Iterable[str], measured: Callable[[str], Any], results: Results) -> None:
    """Measure each of them, also when one before it failed.

    Raises:
        RuntimeError: some failed; the message has all of their errors.
    """
    errors = []
    for name in names:
        try:
            results[name] = measured(name)
        except Exception as failure:
            traceback.print_exc()
            errors.append(f"{name}: {described(failure)}")
    if errors:
        raise RuntimeError("; ".join(errors))


def described(failure: BaseException) -> str:
    """Its kind and its message, in one line."""
    return " ".join(f"{type(failure).__name__}: {failure}".split())
