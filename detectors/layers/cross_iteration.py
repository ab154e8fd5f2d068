"""Batch norm over the last iterations, with their statistics corrected to the present weights."""

import logging
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.norm import DEFAULT_EPS
from detectors.layers.progress import Demanding, Remembering
from detectors.ranges import Count, Positive, Share

_log = logging.getLogger(__name__)


class Past(NamedTuple):
    """What is kept of an iteration, for a convolution of C channels with weights [C, ...]."""

    mean_slope: Tensor  # [C, ...] derivative of each channel's mean by its weights
    square_slope: Tensor  # [C, ...] that of its mean square
    square: Tensor  # [C] the mean square itself


class Kernel(NamedTuple):
    """The weights of a convolution with C output channels."""

    weight: Tensor  # [C, ...], of a transposed one [..., C, ., .]
    transposed: bool

    def by_channel(self, values: Tensor) -> Tensor:
        """Weights, or slopes by them, with the channel of the output first."""
        return (values.transpose(0, 1) if self.transposed else values).detach()


class CrossIterationNorm(Remembering, Demanding):
    """Batch norm over the batches of the last iterations (CBN, Yao et al. 2021, sec. 3).

    Means and mean squares of earlier iterations are corrected to the present weights by a Taylor
    term of first order in the weights of the convolution before (sec. 3.2), of whose layer alone
    the derivative is taken. Without a bias a mean is linear in these weights and a mean square
    quadratic, so the corrected ones are `<slope, w>` and `<slope, w> - square`: no earlier weights
    are kept. A mean square counts as no less than the squared mean (sec. 3.3). Only the present
    iteration carries a gradient.

    The convolution is found in the graph of the norm's input. Where there is none right before the
    norm, or one with a bias, weights that do not learn, or groups that its transpose cannot tell
    apart, this is plain batch norm, which is logged once.

    Args:
        channels: of the maps.
        momentum: of the running statistics, as in batch norm.
        window: iterations, the present one among them.

    Raises:
        ValueError: when checked, the loss is compiled: such a graph has no slopes of its own.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(
        self, channels: int, eps: Positive = DEFAULT_EPS, momentum: Share = 0.1, window: Count = 4
    ) -> None:
        super().__init__()
        self.eps, self.momentum, self.window = eps, momentum, window
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.past: list[Past] = []
        self.alone = False  # as has been logged

    def check(self, mini_batches: int, compiled: bool) -> None:
        if compiled:
            raise ValueError("norm=cbn takes slopes within a step: set compile=false")

    def memory(self) -> list[tuple[Tensor, ...]]:
        return [tuple(past) for past in self.past]

    def recall(self, memory: list[tuple[Tensor, ...]]) -> None:
        device = self.weight.device
        self.past = [Past(*(field.to(device) for field in past)) for past in memory]

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape and type; statistics are float32."""
        if not self.training:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        wide = x.float()
        mean, square = wide.mean((0, 2, 3)), wide.square().mean((0, 2, 3))
        kernel = kernel_before(x)
        if kernel is not None:
            mean, square = self._over_window(mean, square, kernel)
        elif torch.is_grad_enabled():
            self._tell_alone()
        variance = (square - mean.square()).clamp(min=0)
        self._keep(mean.detach(), variance.detach())
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (wide * scale.view(-1, 1, 1) + shift.view(-1, 1, 1)).to(x.dtype)

    def _over_window(self, mean: Tensor, square: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
        """Averages [C] over the window; the present iteration is added to it."""
        now = kernel.by_channel(kernel.weight)
        means, squares = [mean], [torch.maximum(square, mean.square())]
        for past in self.past:
            means.append(_inner(past.mean_slope, now))
            corrected = _inner(past.square_slope, now) - past.square
            squares.append(torch.maximum(corrected, means[-1].square()))
        mean_slope, square_slope = (
            kernel.by_channel(torch.autograd.grad(s.sum(), kernel.weight, retain_graph=True)[0])
            for s in (mean, square)
        )
        self.past = [Past(mean_slope, square_slope, square.detach()), *self.past]
        self.past = self.past[: self.window - 1]
        return torch.stack(means).mean(0), torch.stack(squares).mean(0)

    def _tell_alone(self) -> None:
        if not self.alone:
            _log.warning(
                "norm=cbn: a norm of %d channels has no convolution without bias that learns right "
                "before it: batch norm of each iteration alone",
                len(self.weight),
            )
        self.alone = True

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def _inner(slope: Tensor, weight: Tensor) -> Tensor:
    """[C] inner product of each channel's."""
    return (slope * weight).flatten(1).sum(1)


def kernel_before(x: Tensor) -> Kernel | None:
    """The kernel of the convolution whose output `x` is, read from the graph of the gradient.

    None where there is none, or one with a bias, with weights that do not learn as they are, or
    transposed and with groups.
    """
    node: Any = x.grad_fn
    if node is None or node.name() != "ConvolutionBackward0":
        return None
    if any(node._saved_bias_sym_sizes_opt) or (node._saved_transposed and node._saved_groups > 1):
        return None
    source = node.next_functions[1][0]
    if source is not None and source.name() == "ToCopyBackward0":  # to the type of autocast
        source = source.next_functions[0][0]
    weight = getattr(source, "variable", None)
    return None if weight is None else Kernel(weight, node._saved_transposed)
