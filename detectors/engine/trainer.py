"""What a run computes on, and in which number format."""

import difflib
import inspect
import logging
import warnings
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger

# Lightning's warnings about its own code, and about what is on purpose here.
IRRELEVANT = (
    ".*LeafSpec.*",
    ".*smaller than the logging interval.*",
    ".*does not have many workers.*",
    ".*sync_dist=True.*",  # losses shown are the first process's: waiting for all costs each step
    ".*Checkpoint directory .* exists and is not empty.*",
)

_log = logging.getLogger(__name__)


def trainer(
    device: str,
    precision: str,
    callbacks: Mapping[str, Callback] | None = None,
    loggers: Mapping[str, Logger] | None = None,
    **settings: Any,
) -> Trainer:
    """Lightning's `Trainer`, for a device and a number format by name.

    Args:
        device: "auto", "cpu", "gpu" or any other accelerator of Lightning.
        precision: "auto" or what Lightning knows.
        settings: all other arguments of `Trainer`.

    Raises:
        ValueError: `Trainer` has no such argument, or this machine has no such device.
    """
    _check_settings(settings)
    for message in IRRELEVANT:
        warnings.filterwarnings("ignore", message)
    accelerator = _accelerator(device)
    return Trainer(
        accelerator=accelerator,
        precision=number_format(precision, accelerator),  # type: ignore[arg-type]
        callbacks=list((callbacks or {}).values()),
        logger=list((loggers or {}).values()),
        enable_model_summary=False,
        **settings,
    )


def _check_settings(settings: Mapping[str, Any]) -> None:
    known = list(inspect.signature(Trainer).parameters)
    for key in settings:
        if key not in known:
            close = difflib.get_close_matches(key, known, 1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"Lightning's Trainer has no {key!r}.{hint}")


def _accelerator(device: str) -> str:
    if device == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    if device in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={device}: torch sees no GPU here. Use device=cpu or device=auto")
    return device


def torch_device(device: str) -> torch.device:
    """The device that `device` names, for code without a `Trainer`."""
    return torch.device("cuda" if _accelerator(device) in ("gpu", "cuda") else "cpu")


def number_format(precision: str, accelerator: str) -> str:
    """What "auto" means here: bf16 where the hardware computes in it, else float32."""
    if precision != "auto":
        return precision
    chosen = "bf16-mixed" if has_bf16(accelerator) else "32-true"
    _log.info("precision=auto: %s on this %s", chosen, accelerator)
    return chosen


def has_bf16(accelerator: str) -> bool:
    """Whether matrix products in bf16 are instructions of the processor or GPU, not emulated."""
    if accelerator in ("gpu", "cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return accelerator == "cpu" and fast
