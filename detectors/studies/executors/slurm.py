"""Runs as jobs of a SLURM array, submitted by submitit; a job out of time is queued again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectors.studies.execute import Job, attend, missing

MOST = 1000  # jobs in the queue at once


class Slurm:
    """Jobs in the queue; each claims its run when it starts, so two that meet do not both train."""

    def __init__(self, settings: Mapping[str, Any], jobs: int | None, threads: int) -> None:
        """Prepare the queue.

        Args:
            settings: of submitit's `AutoExecutor`, such as `timeout_min`; `folder` is that of its
                logs, and `cluster` local or debug tries it without SLURM.

        Raises:
            ValueError: submitit is not installed.
        """
        try:
            import submitit
        except ImportError as error:
            raise ValueError(missing("slurm", "submitit")) from error
        asked = {"cpus_per_task": threads, **settings}
        folder, cluster = Path(asked.pop("folder", "runs/slurm")), asked.pop("cluster", None)
        self.slots = jobs or MOST
        self._executor = submitit.AutoExecutor(folder, cluster=cluster)
        self._executor.update_parameters(**asked)
        self._handles: list[Any] = []

    def start(self, jobs: Sequence[Job]) -> list[Any]:
        handles = self._executor.map_array(Requeued(), list(jobs))
        self._handles += handles
        return list(handles)

    def ended(self, handle: Any) -> bool:
        return bool(handle.done())

    def stop(self) -> None:
        for handle in self._handles:
            if not handle.done():
                handle.cancel()


class Requeued:
    """Trains a run; SLURM's warning before the end of its time puts the same job in the queue."""

    def __call__(self, job: Job) -> None:
        attend(job)

    def checkpoint(self, job: Job) -> Any:
        """What submitit shall call in the next job: the run goes on from its checkpoint."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)
