"""Runs as actors of a Ray cluster, placed by the CPUs and GPUs that each asks for."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectors.studies.execute import Job, attend, missing

RESOURCES = ("num_gpus", "resources")  # of an actor; all other settings are those of `ray.init`


class Ray:
    """One actor a run; all end with the process that started them."""

    def __init__(self, settings: Mapping[str, Any], jobs: int | None, threads: int) -> None:
        """Connect to the cluster, or start one on this machine.

        Args:
            settings: of `ray.init`, such as `address`; `num_gpus` and `resources` of each run.
            jobs: at once; None: as many as have room.

        Raises:
            ValueError: ray is not installed.
        """
        try:
            import ray
        except ImportError as error:
            raise ValueError(missing("ray", "ray")) from error
        self._ray = ray
        others = {key: value for key, value in settings.items() if key not in RESOURCES}
        ray.init(ignore_reinit_error=True, log_to_driver=False, **others)
        asked = {key: settings[key] for key in RESOURCES if key in settings}
        remote: Any = ray.remote(_Worker)
        self._actor = remote.options(num_cpus=threads, **asked)
        there = ray.cluster_resources()
        gpus = there.get("GPU", 0) / asked["num_gpus"] if asked.get("num_gpus") else float("inf")
        self.slots = jobs or max(1, int(min(there.get("CPU", 1) / threads, gpus)))
        self._going: dict[Any, Any] = {}  # actor by reference

    def start(self, jobs: Sequence[Job]) -> list[Any]:
        actors = [self._actor.remote() for _ in jobs]
        handles = [a.attend.remote(job) for a, job in zip(actors, jobs, strict=True)]
        self._going |= dict(zip(handles, actors, strict=True))
        return handles

    def ended(self, handle: Any) -> bool:
        """Whether the actor is through, or lost with its machine."""
        over = bool(self._ray.wait([handle], timeout=0)[0])
        if over:
            self._ray.kill(self._going.pop(handle))
        return over

    def stop(self) -> None:
        """End all actors."""
        for actor in self._going.values():
            self._ray.kill(actor)


class _Worker:
    def attend(self, job: Job) -> None:
        attend(job)
