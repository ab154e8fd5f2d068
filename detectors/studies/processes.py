"""Starts processes that end with the one that started them."""

import ctypes
import functools
import os
import signal
import sys
from collections.abc import Callable

_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of prctl(2)
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None


def dying_with_parent() -> Callable[[], None] | None:
    """What `subprocess` calls in a child, so that it is killed when this process is gone.

    None where the system knows no such thing.
    """
    return functools.partial(_die_with, os.getpid()) if _LIBC else None


def _die_with(parent: int) -> None:
    """In the child."""
    assert _LIBC is not None
    _LIBC.prctl(_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
