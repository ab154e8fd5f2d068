"""Batch norm over the last iterations, whose statistics are brought up to the present weights."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.norm import DEFAULT_EPS

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


class Past(NamedTuple):
    """What is kept of an iteration, for a convolution of C channels with weights [C, ...]."""

    mean_slope: Tensor  # [C, ...] derivative of each channel's mean by its weights
    square_slope: Tensor  # [C, ...] that of its mean square
    square: Tensor  # [C] the mean square itself


class CrossIterationNorm(nn.Module):
    """Batch norm over the batches of the last iterations (CBN, Yao et al. 2021, sec. 3).

    Means and mean squares of earlier iterations are corrected to the present weights by a Taylor
    term of first order in the weights of the convolution before (sec. 3.2), of whose layer alone
    the derivative is taken. Without a bias a mean is linear in these weights and a mean square
    quadratic, so the corrected ones are `<slope, w>` and `<slope, w> - square`: no earlier weights
    are kept. A mean square counts as no less than the squared mean (sec. 3.3). Only the present
    iteration carries a gradient.

    `callbacks.cross_iterations` tells which convolution comes before. Without one this is plain
    batch norm, as it is where the convolution has a bias or its weights do not learn.

    Args:
        channels: of the maps.
        momentum: of the running statistics, as in batch norm.
        window: iterations, the present one among them.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, eps: float = DEFAULT_EPS, momentum: float = 0.1, window: int = 4
    ) -> None:
        super().__init__()
        self.eps, self.momentum, self.window = eps, momentum, window
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.before: list[nn.Module] = []  # the convolution, in a list because it is no child
        self.past: list[Past] = []

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape and type; statistics are float32."""
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        wide = x.float()
        mean, square = self._statistics(wide.mean((0, 2, 3)), wide.square().mean((0, 2, 3)))
        variance = (square - mean.square()).clamp(min=0)
        self._keep(mean.detach(), variance.detach())
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (wide * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)).to(x.dtype)

    def _statistics(self, mean: Tensor, square: Tensor) -> tuple[Tensor, Tensor]:
        """Averages of [C] over the window, and the present iteration put into it."""
        weight: Any = self.before[0].weight if self.before else None
        if weight is None or not weight.requires_grad or not mean.requires_grad:
            return mean, square
        now = self._by_channel(weight)
        means, squares = [mean], [torch.maximum(square, mean.square())]
        for past in self.past:
            means.append(_inner(past.mean_slope, now))
            corrected = _inner(past.square_slope, now) - past.square
            squares.append(torch.maximum(corrected, means[-1].square()))
        mean_slope, square_slope = (
            self._by_channel(torch.autograd.grad(statistic.sum(), weight, retain_graph=True)[0])
            for statistic in (mean, square)
        )
        self.past = [Past(mean_slope, square_slope, square.detach()), *self.past]
        self.past = self.past[: self.window - 1]
        return torch.stack(means).mean(0), torch.stack(squares).mean(0)

    def _by_channel(self, weight: Tensor) -> Tensor:
        """Weights, or slopes by them, with the channel of the output first."""
        turned = isinstance(self.before[0], nn.ConvTranspose2d)
        return (weight.transpose(0, 1) if turned else weight).detach()

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def _inner(slope: Tensor, weight: Tensor) -> Tensor:
    """[C] inner product of each channel's."""
    return (slope * weight).flatten(1).sum(1)


def follow(network: nn.Module, run: Callable[[], object]) -> list[str]:
    """Let every `CrossIterationNorm` know the convolution whose output it is given.

    Args:
        network: holds both.
        run: passes something through it.

    Returns:
        Names of the norms that have none: they stand behind something else, or behind a convolution
        with a bias or with groups that its transpose cannot tell apart.
    """
    outputs: dict[int, tuple[Tensor, nn.Module]] = {}  # tensors too, so that no address is reused
    hooks = []
    for part in network.modules():
        if isinstance(part, CONVOLUTIONS) and part.bias is None:
            hooks.append(part.register_forward_hook(partial(_note, outputs)))
        elif isinstance(part, CrossIterationNorm):
            hooks.append(part.register_forward_pre_hook(partial(_look_up, outputs)))
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    norms = [(n, p) for n, p in network.named_modules() if isinstance(p, CrossIterationNorm)]
    return [name for name, norm in norms if not norm.before]


def _note(outputs: dict, conv: nn.Module, _: object, output: Tensor) -> None:
    if not (isinstance(conv, nn.ConvTranspose2d) and conv.groups > 1):
        outputs[id(output)] = (output, conv)


def _look_up(outputs: dict, norm: CrossIterationNorm, given: tuple[Tensor]) -> None:
    if id(given[0]) in outputs:
        norm.before = [outputs[id(given[0])][1]]
