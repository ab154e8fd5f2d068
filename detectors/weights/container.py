"""Checkpoints as `.safetensors`: a container that holds tensors and text, and never code.

The file has the weights that an evaluation takes, the averaged ones if there was an average, and in
its metadata what else a checkpoint says of a detector. A training cannot be resumed from it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from detectors.files import whole_file
from detectors.structures import CHECKPOINT_FORMAT

SUFFIX = ".safetensors"
TOLD = ("config", "classes", "category_ids")  # of a checkpoint
OURS = "lightning-detectors"  # the key of metadata under which it stands


def write_container(checkpoint: Mapping[str, Any], file: Path) -> None:
    """Write what evaluating and predicting take of a checkpoint.

    Args:
        checkpoint: as `load_checkpoint` gives it.
    """
    state = checkpoint["state_dict"].items()
    tensors = {n: v.contiguous() for n, v in state if n.startswith("detector.")}
    told = {"format": CHECKPOINT_FORMAT, **{key: checkpoint[key] for key in TOLD}}
    content = save(tensors, {OURS: json.dumps(told)})
    with whole_file(file, "wb", len(content)) as opened:
        opened.write(content)


def read_container(file: Path) -> dict[str, Any]:
    """What is in a file of `write_container`, in the form of a checkpoint.

    Raises:
        ValueError: it is damaged, or not of this package.
    """
    try:
        with safe_open(file, framework="pt") as opened:
            told = (opened.metadata() or {}).get(OURS)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{file}: no safetensors file, or a damaged one ({error})") from error
    if told is None:
        raise ValueError(
            f"{file}: was not written by `detectors export format=safetensors`: it has tensors, "
            "but does not say of which detector"
        )
    content = json.loads(told)
    if not isinstance(content, dict):
        raise ValueError(f"{file}: what it says of its detector is no map, but {told[:40]!r}")
    return {**content, "state_dict": tensors}
