"""What a focal loss costs where all classes are denied, computed in pieces that fit a cache."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

PIECE = 2**17  # numbers; so the five arrays of a piece stay in the caches of a few cores


def denying(logits: Tensor, gamma: float) -> Tensor:
    """`-(1 - p_t)^gamma log p_t` where the target is zero, so p_t = 1 - p."""
    p = logits.sigmoid().clamp(min=1e-30)  # at 0 a power below 1 has an infinite slope
    return p.pow(gamma) * F.softplus(logits)


def sum_of_denying(logits: Tensor, gamma: float) -> Tensor:
    """The sum of `denying` over the last axis, [...] of logits [..., C].

    On a CPU it and its slope are computed together, piece by piece: of the many arrays as large as
    the logits, which are most of a dense detector's loss, one is left. Otherwise, and in a compiled
    graph, it is the sum itself. The slope has none of its own.
    """
    pieces = logits.device.type == "cpu" and logits.requires_grad
    if not pieces or torch.compiler.is_compiling():
        return denying(logits, gamma).sum(-1)
    return _SumOfDenying.apply(logits, gamma)


class _SumOfDenying(torch.autograd.Function):
    """With `d/dx p^g s = p^g (g (1 - p) s + p)`, where p is the sigmoid and s the softplus of x."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, gamma: float) -> Tensor:
        flat = logits.reshape(-1, logits.shape[-1])
        total, slope = flat.new_empty(len(flat)), torch.empty_like(flat)
        rows = max(1, PIECE // flat.shape[-1])
        for x, out, d in zip(*(part.split(rows) for part in (flat, total, slope)), strict=True):
            p, s = x.sigmoid().clamp_(min=1e-30), F.softplus(x)
            power = p.pow(gamma)
            torch.sum(power * s, dim=-1, out=out)
            torch.mul(s.mul_(1 - p).mul_(gamma).add_(p), power, out=d)
        ctx.shape = logits.shape
        ctx.save_for_backward(slope)
        return total.view(logits.shape[:-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (slope,) = ctx.saved_tensors
        return slope.view(ctx.shape) * gradient[..., None], None
