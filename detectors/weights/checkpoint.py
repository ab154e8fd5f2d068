"""Reads checkpoints of `detectors train` without running code that they may hold."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detectors.structures import CHECKPOINT_FORMAT
from detectors.weights.container import SUFFIX, read_container


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Content of a checkpoint of `detectors train`, or of one that is kept as safetensors.

    Raises:
        ValueError: the file is none of ours, or not whole.
    """
    checkpoint = read_container(file) if file.suffix == SUFFIX else _read(file)
    config = checkpoint.get("config") if isinstance(checkpoint, dict) else None
    if not isinstance(config, dict) or not config:
        raise ValueError(f"{file}: holds no config, so it was not written by `detectors train`")
    if checkpoint.get("format") != CHECKPOINT_FORMAT:
        raise ValueError(
            f"{file}: was written by another version of this package, as format "
            f"{checkpoint.get('format', 1)}; this one reads format {CHECKPOINT_FORMAT}, in which "
            "parts and words have other names. Use that version, or train again"
        )
    return checkpoint


def _read(file: Path) -> Any:
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{file}: {_unreadable(file)}") from error


def _unreadable(file: Path) -> str:
    """Why torch cannot read a file."""
    if not file.is_file():
        return "no such file"
    with file.open("rb") as opened:
        begins_as_ours = opened.read(2) == b"PK"
    if not file.stat().st_size or (begins_as_ours and not zipfile.is_zipfile(file)):
        return (
            f"a truncated checkpoint, its end is missing ({file.stat().st_size} bytes are there): "
            "it was not written or copied to its end. Use another one of the run, or copy it again"
        )
    return "no checkpoint, or a damaged one, or one that holds code, which is not run"


def stored_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state of the checkpoint's detector: the averaged one, if there was an average."""
    state = checkpoint["state_dict"].items()
    return {n.removeprefix("detector."): v for n, v in state if n.startswith("detector.")}
