"""Writes what every run folder tells about its run."""

import importlib.metadata
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from detectors.data.sources.base import Source, path_of
from detectors.files import whole_file

_log = logging.getLogger(__name__)

PACKAGES = (  # all that take part in a result
    *("torch", "lightning", "torchvision", "timm", "hydra-core", "albumentations", "numpy"),
    *("opencv-python-headless", "pillow", "torchmetrics", "scikit-learn"),
)


def record(cfg: DictConfig, overrides: Sequence[str]) -> Path:
    """Write config, overrides and environment of this run into its folder, and say where it is.

    It is returned. A run is recorded when all is made that it may be refused for. Of several
    processes, the first writes.
    """
    folder = Path(cfg.run_dir)
    if is_first_process():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "config.yaml", OmegaConf.to_yaml(cfg, resolve=True))
        write_text(folder / "overrides.txt", "".join(f"{word}\n" for word in overrides))
        write_json(folder / "environment.json", {"seed": cfg.get("seed"), **environment()})
        _log.info("run folder: %s", folder)
    return folder


def is_first_process() -> bool:
    """Whether this is the first of the processes of a run, by the variables that launchers set."""
    ranks = (os.environ.get(name) for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"))
    return next((rank for rank in ranks if rank is not None), "0") == "0"


def environment() -> dict[str, Any]:
    """Command, code and machine: what a later reader needs to explain a difference."""
    return {
        "command": sys.argv,
        "git_commit": _git("rev-parse", "HEAD"),
        "git_changes": _git("status", "--porcelain", "--untracked-files=no"),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "machine": platform.platform(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
    }


@cache
def _git(*arguments: str) -> str | None:
    """Answer of git about the checkout this package lies in; None where it is installed."""
    here = Path(__file__).parent
    try:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def write_json(file: Path, content: Any) -> None:
    """Write `content`, indented."""
    write_text(file, json.dumps(content, indent=2) + "\n")


def write_text(file: Path, content: str) -> None:
    """Write it whole or not at all."""
    with whole_file(file) as lines:
        lines.write(content)


def save_picture(picture: Image.Image, name: str) -> Path:
    """Save it in the file of that name, whose folder is made; the file.

    Raises:
        ValueError: the suffix is that of no picture.
    """
    file = Path(name)
    kind = Image.registered_extensions().get(file.suffix.lower())
    if kind is None:
        raise ValueError(f"file={name}: end it with the suffix of a picture, such as .png")
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file, "wb") as opened:
        picture.save(opened, format=kind)
    return file


def write_images(source: Source, folder: Path) -> dict[int, str | None]:
    """`images.json`: which file each image_id of the detections is; null where it was generated.

    The same is returned by id.
    """
    ids = source.annotations.image_ids.tolist()
    names = {i: path_of(source, row) for row, i in enumerate(ids)}
    rows = [{"id": i, "file_name": name} for i, name in names.items()]
    write_json(folder / "images.json", rows)
    return names
