"""Strictness and the few fixtures that every test folder shares."""

import atexit
import gc
import importlib
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

os.environ.setdefault("DETECTORS_REPORT", "false")  # those that look at a report ask for it


def pytest_configure(config: pytest.Config) -> None:
    """Let processes that run tests for another end without taking all objects apart: seconds."""
    if hasattr(config, "workerinput"):
        atexit.register(os._exit, 0)  # the first that is registered is the last that is called


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Let nobody search for garbage among the million objects that imports have made."""
    gc.collect()
    gc.freeze()
    atexit.register(gc.unfreeze)
    gc.set_threshold(50_000, 20, 100)  # a seventh of the time of all tests goes into it otherwise


@pytest.fixture(autouse=True, scope="session")
def _no_waiting_for_the_disk() -> Iterator[None]:
    """What was written may be lost if the machine stops, which ends the tests as well."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _devices_are_counted_once() -> Iterator[None]:
    """Without a driver, PyTorch would look for its library at each operation that it traces."""
    import torch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.cuda, "device_count", cache(torch.cuda.device_count))
        yield


@pytest.fixture(autouse=True, scope="session")
def _policies_are_looked_through_once() -> Iterator[None]:
    """Hydra does so whenever a partial is called, a tenth of the time of all that it makes."""
    importlib.import_module("hydra.utils")
    policies = sys.modules.get("hydra._internal.target_policy")  # not of older versions
    with pytest.MonkeyPatch.context() as patch:
        if policies is not None:
            known = cache(policies._validated_target_policy)
            patch.setattr(policies, "_validated_target_policy", known)
        yield


@pytest.fixture(autouse=True, scope="session")
def _configs_are_looked_through_once() -> Iterator[None]:
    """Nobody writes one of ours meanwhile, and `compose` would look at all 600 each time."""
    from detectors.config import compose

    with pytest.MonkeyPatch.context() as patch:
        conf, seek = compose.CONF, compose.written
        files = seek(conf)
        patch.setattr(compose, "written", lambda root: files if root == conf else seek(root))
        yield


@pytest.fixture(autouse=True)
def _seeded() -> None:
    import torch  # not by the process that only hands out tests

    if torch.cuda.is_initialized():
        torch.manual_seed(0)
    else:  # torch.manual_seed would write down its callers each time
        torch.default_generator.manual_seed(0)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """Folder that holds `bccd` and `coco_tiny`; the test is skipped where it is not set."""
    if "DETECTORS_DATA" not in os.environ:
        pytest.skip("DETECTORS_DATA is not set: tests on real images need it (see README, Data)")
    return Path(os.environ["DETECTORS_DATA"])
