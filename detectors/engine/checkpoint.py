"""Finds checkpoints."""

import logging
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from detectors.config.links import followed
from detectors.weights.checkpoint import load_checkpoint
from detectors.weights.initial import unread

_log = logging.getLogger(__name__)


def checkpoint_file(ckpt_path: str, folder: Path) -> Path:
    """The file that `ckpt_path` names.

    "last" is `checkpoints/last.ckpt` of this run folder if it is there (a run repeated with
    `hydra.run.dir=FOLDER`), else the one written last in a folder beside it.

    Raises:
        ValueError: there is no such file.
    """
    if ckpt_path != "last":
        candidates = [Path(ckpt_path)]
    else:
        beside = folder.resolve().parent.glob("*/checkpoints/last.ckpt")
        newest = sorted(beside, key=lambda file: file.stat().st_mtime, reverse=True)
        candidates = [folder / "checkpoints" / "last.ckpt", *newest]
    for file in candidates:
        if file.is_file():
            return file
    looked = f"{folder} and its neighbours" if ckpt_path == "last" else Path.cwd()
    raise ValueError(f"ckpt_path={ckpt_path}: no such file (looked in {looked})")


def resumed_from(cfg: DictConfig, folder: Path) -> Path | None:
    """The checkpoint to go on from, whose model must be this run's."""
    if cfg.ckpt_path is None:
        return None
    file = checkpoint_file(cfg.ckpt_path, folder)
    model = followed(load_checkpoint(file)["config"], "model")
    own: Any = OmegaConf.to_container(cfg.model, resolve=True)
    if unread(model) != unread(own):
        raise ValueError(f"{file} holds another model than this config; give the same overrides")
    _log.info("resuming from %s", file)
    return file
