"""Convolution, normalisation and activation: the building block of almost every network here."""

from collections.abc import Callable

from torch import nn

from detectors.contracts import made_by

Norm = Callable[[int], nn.Module]  # channels -> layer
Activation = Callable[..., nn.Module]  # () -> layer, or (channels=) -> `ChannelActivation`


class ChannelActivation(nn.Module):
    """An activation that learns something for each channel, so it is made with `(channels=)`."""


def activation(act: Activation, channels: int) -> nn.Module:
    """A fresh one, for maps of so many channels."""
    made = made_by(act)
    learns = isinstance(made, type) and issubclass(made, ChannelActivation)
    return act(channels=channels) if learns else act()


class ConvNormAct(nn.Sequential):
    """[B, in, H, W] -> [B, out, ceil(H / stride), ceil(W / stride)] for odd kernels.

    The padding is half the kernel. The layers are the children `conv`, `norm` and `act`.

    Args:
        bias: of the convolution; by default it has one only if no norm follows, whose shift would
            make it redundant.
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
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel,
            stride,
            padding=kernel // 2,
            groups=groups,
            bias=norm is None if bias is None else bias,
        )
        if norm is not None:
            self.norm = norm(out_channels)
        if act is not None:
            self.act = activation(act, out_channels)
