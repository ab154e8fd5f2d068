"""Computes in float32 the convolutions whose bf16 gradient is wrong on a CPU."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


def narrow_in_float32() -> AbstractContextManager:
    """Where bf16 autocast trains on a CPU: strided convolutions of one-pixel maps are float32.

    oneDNN leaves a part of their weight's bf16 gradient as it finds it in memory: anything up to
    1e38, or NaN. Seen with torch 2.15.0 on processors with AMX, for 3x3 kernels of stride 2 on maps
    one pixel wide or high: P7 of an image of 64 pixels, or of a long thin one. Every kernel larger
    than a pixel is treated alike, whatever calls it. All else, and all that needs no gradient, is
    computed as ever.
    """
    concerned = (
        torch.is_grad_enabled()
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )
    return _NarrowInFloat32() if concerned else nullcontext()


class _NarrowInFloat32(TorchFunctionMode):
    """Hears of every call of torch, so that the layers of any library are looked at."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return (_conv2d if func is torch.conv2d else func)(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    *others: Any,
    **named: Any,
) -> Tensor:
    strided = stride > 1 if isinstance(stride, int) else max(stride) > 1
    if not (strided and min(input.shape[-2:]) == 1 and max(weight.shape[-2:]) > 1):
        return torch.conv2d(input, weight, bias, stride, *others, **named)
    with torch.autocast("cpu", enabled=False):
        bias = None if bias is None else bias.float()
        return torch.conv2d(input.float(), weight.float(), bias, stride, *others, **named)
