"""Where memory does not suffice, one sentence says what was needed and what helps."""

import pytest
import torch

from detectors.engine.memory import TooLittleMemory, memory_told

GPU = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.80 GiB of "
    "which 1.25 GiB is free. Process 1 has 138.00 GiB memory in use."
)
HOST = "[enforce fail at alloc_cpu.cpp:1] . DefaultCPUAllocator: can't allocate memory: "
WORKER = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that its "


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError(GPU), r"2\.50 GiB more were needed, 1\.25 GiB of 139\.80 GiB were"),
        (torch.OutOfMemoryError("CUDA out of memory."), r"Lower data\.batch_size .* image_size"),
        (
            RuntimeError(HOST + "you tried to allocate 8000000000 bytes."),
            r"8\.00 GB more were needed",
        ),
        (RuntimeError(WORKER + "workers are out of shared memory."), r"/dev/shm has [\d,.]+ MB"),
        (
            RuntimeError("no shared memory for a batch of 8000000 bytes: "),
            "8.0 MB more were needed",
        ),
        (RuntimeError("unable to write to file </torch_7_0>: No space left"), r"--shm-size=2g"),
    ],
)
def test_what_was_needed_and_what_helps(error: RuntimeError, told: str) -> None:
    with pytest.raises(TooLittleMemory, match=told), memory_told():
        raise error


def test_other_errors_are_left_as_they_are() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"), memory_told():
        raise RuntimeError("size mismatch")
