"""Chooses the device that a run computes on, and the number format."""

import logging

import torch

_log = logging.getLogger(__name__)


def accelerator_of(device: str) -> str:
    """The Lightning accelerator that `device` names; "auto" is a GPU where torch sees one.

    Raises:
        ValueError: this machine has no such device.
    """
    if device == "auto":
        return "gpu" if torch.cuda.is_available() else "cpu"
    if device in ("gpu", "cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={device}: torch sees no GPU here. Use device=cpu or device=auto")
    if device == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device=mps: torch sees no GPU of Apple's here. Use device=cpu or auto")
    return device


def torch_device(device: str) -> torch.device:
    """The device that `device` names, for code without a `Trainer`.

    Raises:
        ValueError: it is neither a CPU nor a GPU of CUDA, or this machine has none.
    """
    accelerator = accelerator_of(device)
    if accelerator not in ("cpu", "gpu", "cuda"):
        raise ValueError(f"device={device}: this command computes on a cpu or a gpu")
    return torch.device("cpu" if accelerator == "cpu" else "cuda")


def autocast_type(precision: str | int, accelerator: str) -> torch.dtype | None:
    """What `torch.autocast` computes in, for code without a `Trainer`; None for float32.

    Raises:
        ValueError: the number format is another one.
    """
    types = {"32": None, "bf16": torch.bfloat16, "16": torch.float16}
    name, _, kind = number_format(precision, accelerator).partition("-")
    if name not in types or kind not in ("", "true" if name == "32" else "mixed"):
        raise ValueError(
            f"precision={precision}: this command computes in 32-true, bf16-mixed or 16-mixed"
        )
    return types[name]


def number_format(precision: str | int, accelerator: str) -> str:
    """The precision for Lightning; "auto" is bf16 if the hardware computes in it, else float32."""
    if precision != "auto":
        return str(precision)
    chosen = "bf16-mixed" if has_bf16(accelerator) else "32-true"
    _log.info("precision=auto: %s on this %s", chosen, accelerator)
    return chosen


def has_bf16(accelerator: str) -> bool:
    """Whether matrix products in bf16 are instructions of the processor or GPU, not emulated."""
    if accelerator in ("gpu", "cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return accelerator == "cpu" and fast
