"""Freed memory is used again in place of new pages, which the system would clear."""

import ctypes
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from detectors.data.allocator import keep_freed_memory

GLIBC = platform.libc_ver()[0] == "glibc"
OLD = GLIBC and tuple(map(int, platform.libc_ver()[1].split("."))) < (2, 35)

STEPS = """
import resource
import sys

import numpy as np

from detectors.data.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()


def step():
    for size in (2**22, 2**23):
        np.empty(size, np.int64).fill(1)


step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

JOBS = """
import numpy as np
import torch

from detectors.data.allocator import keep_freed_memory
from detectors.measuring import process_peak, reset_peaks

keep_freed_memory()
reset_peaks(torch.device("cpu"))
before = process_peak() or 0
np.ones(2**28, np.uint8)
print((process_peak() or 0) - before)
reset_peaks(torch.device("cpu"))
print((process_peak() or 0) - before)
"""


def new_pages(how: str) -> int:
    """In five steps that each fill 32 and 64 MiB, after a first one."""
    program = [sys.executable, "-c", STEPS, how]
    return int(subprocess.run(program, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(not GLIBC, reason="the allocator is not that of glibc")
@pytest.mark.skipif(OLD, reason="blocks of 64 MiB are always given back")
def test_a_step_uses_the_memory_of_the_step_before() -> None:
    assert new_pages("given back") > 100
    assert new_pages("kept") < 50


@pytest.mark.parametrize("most", [2**31 - 1, 2**25, 0])
def test_an_allocator_that_refuses_a_large_block_is_asked_for_less_or_left_alone(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    taken: dict[int, int] = {}

    def mallopt(name: int, value: int) -> int:
        refused = name == -3 and value > most
        taken.update({} if refused else {name: value})
        return int(not refused)

    monkeypatch.setattr(ctypes, "CDLL", lambda _: SimpleNamespace(mallopt=mallopt))
    monkeypatch.setattr(sys, "platform", "linux")
    keep_freed_memory()
    assert taken == ({-3: most, -1: 2**31 - 1} if most else {})


@pytest.mark.skipif(not GLIBC, reason="the allocator is not that of glibc")
def test_what_an_earlier_job_has_freed_is_not_in_the_peak_of_the_next() -> None:
    program = [sys.executable, "-c", JOBS]
    told = subprocess.run(program, capture_output=True, check=True, text=True).stdout
    first, second = map(int, told.split())
    assert first > 2**27
    assert second < 2**27
