"""Says where runs happen: here, on SLURM or on Ray; each module makes one engine an `Executor`."""

from collections.abc import Mapping
from typing import Any

from detectors.studies.execute import Executor


def executor(name: str, settings: Mapping[str, Any], jobs: int | None, threads: int) -> Executor:
    """The engine of that name.

    Raises:
        ValueError: it is not installed, or knows no such setting.
    """
    if name == "slurm":
        from detectors.studies.executors.slurm import Slurm

        return Slurm(settings, jobs, threads)
    if name == "ray":
        from detectors.studies.executors.ray import Ray

        return Ray(settings, jobs, threads)
    from detectors.studies.executors.local import Local

    return Local(settings, jobs, threads)
