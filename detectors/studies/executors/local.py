"""Runs on this machine: one at a time on each GPU, or several that share the CPU."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import Any

from detectors.studies.execute import Attempt, Job


class Local:
    """Processes of this machine, shared evenly among its GPUs."""

    def __init__(self, settings: Mapping[str, Any], jobs: int | None, threads: int) -> None:
        """Find the GPUs; `jobs` None: a run at a time on each, or on the CPU.

        Raises:
            ValueError: there are settings.
        """
        if settings:
            raise ValueError(f"cluster.{next(iter(settings))}: executor=local has no settings")
        self.gpus = visible_gpus()
        self.slots = jobs or max(1, len(self.gpus))
        self._going: dict[int, Attempt] = {}  # by slot

    def start(self, jobs: Sequence[Job]) -> list[Attempt | None]:
        """Start each in a free slot."""
        return [self._started(job) for job in jobs]

    def _started(self, job: Job) -> Attempt | None:
        slot = next(number for number in range(self.slots) if number not in self._going)
        gpu = {"CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]} if self.gpus else {}
        attempt = Attempt.begun(job._replace(environment={**job.environment, **gpu}))
        if attempt is not None:
            self._going[slot] = attempt
        return attempt

    def ended(self, handle: Attempt) -> bool:
        """Whether it has ended; its slot is free then."""
        over = handle.ended()
        if over:
            self._going = {slot: one for slot, one in self._going.items() if one is not handle}
        return over

    def stop(self) -> None:
        """End all."""
        for attempt in self._going.values():
            attempt.stop()


def shares(jobs: int | None, threads: int | None) -> tuple[int, int]:
    """Runs at once, None: one for each GPU or for the CPU; and threads of each.

    Without a number of threads OMP_NUM_THREADS holds, or else the runs share the cores.
    """
    at_once = jobs or max(1, len(visible_gpus()))
    said = os.environ.get("OMP_NUM_THREADS", "")
    own = int(said) if said.isdecimal() else len(os.sched_getaffinity(0)) // at_once
    return at_once, max(1, threads or own)


def visible_gpus() -> list[str]:
    """Numbers of the GPUs that a process here may use, without asking torch."""
    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    if said is not None:
        return [gpu for gpu in said.split(",") if gpu]
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return [str(number) for number in range(listed.stdout.count("GPU "))]
