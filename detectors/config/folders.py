"""Gives a run folder a name that no other run has, and a sweep the name of its folder."""

import contextlib
import itertools
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf


def register() -> None:
    """Make `${new_folder:PATH}`, which each config asks once, and `${sweep_name:}` known."""
    OmegaConf.register_new_resolver("sweep_name", sweep_name, replace=True)
    OmegaConf.register_new_resolver(
        "new_folder", lambda path: claimed(path), use_cache=True, replace=True
    )


def sweep_name() -> str | None:
    """The folder of the sweep that the running job is one of; None where it is of none."""
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return Path(HydraConfig.get().sweep.dir).name


def claimed(path: str) -> str:
    """A folder that was not there and now is: the path, else the path with a number.

    Runs that start in the same second, on whatever machines, do not get the same.

    Raises:
        OSError: it cannot be made; names the remedy.
    """
    try:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(1):
            name = path if number == 1 else f"{path}_{number}"
            with contextlib.suppress(FileExistsError):
                Path(name).mkdir()
                return name
    except OSError as error:
        raise OSError(
            f"the run folder {path} cannot be made ({error.strerror}): choose another with "
            "hydra.run.dir=FOLDER, or of a sweep with hydra.sweep.dir=FOLDER"
        ) from error
    raise AssertionError
