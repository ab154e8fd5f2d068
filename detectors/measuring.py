"""Measures the seconds and bytes that calls take, in a way that allows comparing them."""

import contextlib
import ctypes
import gc
import platform
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch

Call = Callable[[], object]


def seconds_in_turn(
    calls: Mapping[str, Call], rounds: Iterable[int], device: torch.device
) -> dict[str, list[float]]:
    """The duration of each call in each round; a round makes every call once."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in rounds:
        for name, call in calls.items():
            seconds[name].append(seconds_of(call, device))
    return seconds


def seconds_of(call: Call, device: torch.device) -> float:
    """The duration of one call, until the device has finished."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def peak_bytes(call: Call, device: torch.device) -> int | None:
    """The peak memory during a call, above that before it: of torch on a GPU, else of the process.

    None on a CPU without Linux, because other systems cannot reset the peak of a process.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return torch.cuda.max_memory_allocated(device) - before
    if sys.platform != "linux":
        return None
    _give_back()
    Path("/proc/self/clear_refs").write_text("5")  # man proc(5): resets the peak
    before = _resident("VmRSS")
    call()
    return _resident("VmHWM") - before


def reset_peaks(device: torch.device) -> None:
    """Let the peaks of this process and of torch on the device begin with what is in use now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    if sys.platform == "linux":
        _give_back()
        with contextlib.suppress(OSError):  # some containers forbid it: the peak is of all before
            Path("/proc/self/clear_refs").write_text("5")  # man proc(5)


def _give_back() -> None:
    """Give what earlier calls have freed back to the system, where the allocator is glibc's."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def process_peak() -> int | None:
    """Most bytes that this process has had in memory, children aside; None without Linux."""
    return _resident("VmHWM") if sys.platform == "linux" else None


def device_peak(device: torch.device) -> int | None:
    """Most bytes that torch has had on a GPU; None on another device."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def _resident(field: str) -> int:
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = re.findall(rf"{field}:\s+(\d+) kB", status)
    return 1024 * int(kilobytes)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def processor(device: torch.device) -> str:
    """The name of the processor or GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    described = Path("/proc/cpuinfo")  # Linux
    names = re.findall(r"model name\s*: (.*)", described.read_text()) if described.exists() else []
    return names[0] if names else platform.processor()
