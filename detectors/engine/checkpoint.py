"""Finds checkpoints."""

import logging
from pathlib import Path

from hydra.core.hydra_config import HydraConfig

from detectors.config.paths import checkpoint_at

_log = logging.getLogger(__name__)

SHOWN = 3  # newest runs in a message


def checkpoint_file(ckpt_path: str, folder: Path) -> Path:
    """The file that `ckpt_path` names, for a command that reads it.

    "last" is `checkpoints/last.ckpt` of this run folder if it is there, else that of the newest run
    beside it, or job of a sweep beside it. It is said which.

    Raises:
        ValueError: there is no such file.
    """
    if ckpt_path != "last":
        return checkpoint_at(ckpt_path)
    found = [file for file in (_own(folder), *_newest(folder)) if file.is_file()]
    if not found:
        raise ValueError(
            f"ckpt_path=last: no run in {folder.resolve().parent} has a checkpoint; name a file"
        )
    _log.info("ckpt_path=last: %s", found[0])
    return found[0]


def training_file(ckpt_path: str, folder: Path) -> Path | None:
    """The file that `ckpt_path` names, for a run to go on with.

    "last" is `checkpoints/last.ckpt` of this run folder, whatever others there are. None, which is
    said: the folder was named by the user and has none yet, so the run starts anew.

    Raises:
        ValueError: there is no such file, or the folder is a new one by default; names the newest.
    """
    if ckpt_path != "last":
        return checkpoint_at(ckpt_path)
    if _own(folder).is_file():
        return _own(folder)
    if not _named_by_user():
        runs = [str(file.parents[1]) for file in _newest(folder)[:SHOWN]]
        there = f"The newest are {', '.join(runs)}" if runs else "There is none beside it"
        raise ValueError(
            "ckpt_path=last goes on with the run in its own folder, and this folder is new: say "
            f"which run with hydra.run.dir=FOLDER, or hydra.sweep.dir=FOLDER for a sweep. {there}"
        )
    _log.warning("ckpt_path=last: %s has no checkpoint yet, so the run starts anew", folder)
    return None


def _own(folder: Path) -> Path:
    return folder / "checkpoints" / "last.ckpt"


def _newest(folder: Path) -> list[Path]:
    """The last checkpoints of other runs and jobs of sweeps, the newest first."""
    runs = folder.resolve().parent
    found = [
        file for levels in ("*", "*/*") for file in runs.glob(f"{levels}/checkpoints/last.ckpt")
    ]
    return sorted(found, key=lambda file: file.stat().st_mtime, reverse=True)


def _named_by_user() -> bool:
    """Whether a word says where the run folder is."""
    words = HydraConfig.get().overrides.hydra if HydraConfig.initialized() else []
    return any(
        word.lstrip("+").startswith(("hydra.run.dir=", "hydra.sweep.dir=")) for word in words
    )
