"""Convolution, normalisation, activation: the brick of almost every network here."""

import inspect
from collections.abc import Callable

from torch import nn

Norm = Callable[[int], nn.Module]  # channels -> layer
Activation = Callable[..., nn.Module]  # () or, where each channel learns, (channels) -> layer


def activation(act: Activation, channels: int) -> nn.Module:
    """A fresh one, for maps of so many channels."""
    takes = "channels" in inspect.signature(act).parameters
    return act(channels=channels) if takes else act()


class ConvNormAct(nn.Sequential):
    """[B, in, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)] for odd kernels.

    Padding is half the kernel. The convolution has a bias only where no norm follows, because a
    norm's shift would make it redundant. The parts are the children `conv`, `norm` and `act`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        stride: int = 1,
        *,
        norm: Norm | None,
        act: Activation | None,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride,
            padding=kernel // 2,
            groups=groups,
            bias=norm is None,
        )
        if norm is not None:
            self.norm = norm(out_channels)
        if act is not None:
            self.act = activation(act, out_channels)
