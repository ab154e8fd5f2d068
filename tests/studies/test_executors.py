"""SLURM's and Ray's adapters end with the same store as the local one."""

import builtins
import os
from pathlib import Path
from typing import Any

import pytest

from detectors.studies.execute import Executor, Runner
from detectors.studies.executors.local import Local, shares
from detectors.studies.executors.ray import Ray
from detectors.studies.executors.slurm import Slurm
from detectors.studies.store import Store, read_record
from tests.studies.test_execute import cell, job, lives, states

CELLS = [cell(v, s, "pause=0.1") for s in (1, 2) for v in ("a", "b")] + [
    cell("c", 1, "fate=raises")
]


def worked(store: Path, executor: Executor) -> list[Any]:
    """State and metrics of all cells after the executor's work."""
    Runner(Store(store), executor, job(store), say=print).work(CELLS)
    assert not list(store.glob("*.claim"))
    assert sum(lives(store).values()) == len(CELLS)
    return [
        (state, read_record(store / one.key).get("metrics"))
        for one, state in zip(CELLS, states(store, CELLS), strict=True)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("cluster", ["local", "debug"])
def test_slurm_ends_with_the_store_of_local(cluster: str, tmp_path: Path) -> None:
    pytest.importorskip("submitit", reason="submitit is not installed: the extra [slurm]")
    settings = {"cluster": cluster, "folder": str(tmp_path / "logs"), "timeout_min": 2}
    settings |= {"cpus_per_task": 1} if cluster == "local" else {}
    found = worked(tmp_path / "slurm", Slurm(settings, None, 1))
    assert found == worked(tmp_path / "local", Local({}, 2, 1))
    assert [state for state, _ in found] == ["done"] * 4 + ["failed"]


@pytest.mark.slow
def test_ray_ends_with_the_store_of_local(tmp_path: Path) -> None:
    ray = pytest.importorskip("ray", reason="ray is not installed: the extra [ray]")
    executor = Ray({"num_cpus": 2, "include_dashboard": False}, None, 1)
    try:
        assert executor.slots == 2
        assert worked(tmp_path / "ray", executor) == worked(tmp_path / "local", Local({}, 2, 1))
    finally:
        ray.shutdown()


@pytest.mark.parametrize(("executor", "package"), [(Slurm, "submitit"), (Ray, "ray")])
def test_a_missing_engine_is_named_with_its_extra(
    executor: Any, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **others: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name, *rest, **others)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ValueError, match=rf"needs {package}: pip install 'lightning-detectors\["):
        executor({}, 1, 1)


def test_the_local_executor_has_no_settings() -> None:
    with pytest.raises(ValueError, match=r"cluster\.partition: executor=local has no settings"):
        Local({"partition": "gpu"}, 1, 1)


def test_gpus_and_threads_are_shared_among_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert shares(None, None) == (4, 2)
    assert shares(2, None) == (2, 4)
    assert shares(16, None) == (16, 1)
    assert shares(None, 3) == (4, 3)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert shares(None, None) == (1, 8)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert shares(None, None) == (1, 1)


def test_each_gpu_has_its_own_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    executor = Local({}, None, 1)
    assert executor.slots == 2
    handles = executor.start(
        [job(tmp_path)(one._replace(words=(*one.words, "epochs=50"))) for one in CELLS[:2]]
    )
    try:
        gpus = [handle.job.environment["CUDA_VISIBLE_DEVICES"] for handle in handles if handle]
        assert gpus == ["3", "5"]
    finally:
        executor.stop()
