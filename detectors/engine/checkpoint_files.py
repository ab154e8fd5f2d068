"""Saves checkpoints whole or not at all, and none that holds a number which is not finite."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from detectors.files import whole_file

LEARNT = ("state_dict", "current_model_state", "optimizer_states")  # keys of a checkpoint


class CheckpointFiles(TorchCheckpointIO):
    """Writes every checkpoint of a Lightning `Trainer`, whichever callback saves it."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write it in the place of the file that was there.

        Raises:
            FloatingPointError: weights, their average or the optimiser's memory of them are not
                finite; the file that was there stays.
            OSError: as `whole_file`.
        """
        check_finite({key: checkpoint[key] for key in LEARNT if key in checkpoint}, str(path))
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        kept = [tensor.untyped_storage() for _, tensor in _tensors(checkpoint)]
        sizes = {storage.data_ptr(): storage.nbytes() for storage in kept}  # shared ones once
        with whole_file(path, "wb", sum(sizes.values())) as file:
            torch.save(checkpoint, file)


def check_finite(learnt: Any, file: str) -> None:
    """Refuse to write a file with a tensor that is not finite.

    Args:
        learnt: tensors in nested maps and lists.

    Raises:
        FloatingPointError: names the first of them and the remedy.
    """
    bad = first_not_finite(_tensors(learnt))
    if bad is not None:
        raise FloatingPointError(
            f"{bad} is not finite, so {file} is not written: what was saved before stays as it is. "
            "Resume from that with a lower optimizer.lr, a longer warmup.length or with "
            "trainer.gradient_clip_val"
        )


def first_not_finite(named: Iterable[tuple[str, Tensor]]) -> str | None:
    """The name of the first tensor with a number that is not finite, if there is one."""
    floating = [(name, t) for name, t in named if t.is_floating_point() and t.numel()]
    bad = set()
    for device in {tensor.device for _, tensor in floating}:  # one transfer from each
        here = [(name, tensor) for name, tensor in floating if tensor.device == device]
        finite = torch.stack([tensor.isfinite().all() for _, tensor in here]).tolist()
        bad |= {name for (name, _), good in zip(here, finite, strict=True) if not good}
    return next((name for name, _ in floating if name in bad), None)


def _tensors(node: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors in nested maps and lists, with their dotted names."""
    if isinstance(node, Tensor):
        yield name, node
    elif isinstance(node, Mapping | list | tuple):
        pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
        for key, child in pairs:
            yield from _tensors(child, f"{name}.{key}" if name else str(key))
