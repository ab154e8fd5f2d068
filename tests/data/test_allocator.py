"""Freed memory is used again in place of new pages, which the system would clear."""

import platform
import subprocess
import sys

import pytest

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


def new_pages(how: str) -> int:
    """In five steps that each fill 32 and 64 MiB, after a first one."""
    program = [sys.executable, "-c", STEPS, how]
    return int(subprocess.run(program, capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the allocator is not that of glibc")
def test_a_step_uses_the_memory_of_the_step_before() -> None:
    assert new_pages("given back") > 100
    assert new_pages("kept") < 50
