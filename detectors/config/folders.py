"""Gives a run folder a name that no other run has."""

import contextlib
import itertools
from pathlib import Path

from omegaconf import OmegaConf


def register() -> None:
    """Make `${new_folder:PATH}` known to configs; each config asks once."""
    OmegaConf.register_new_resolver(
        "new_folder", lambda path: claimed(path), use_cache=True, replace=True
    )


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
