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


class SeparableConvNormAct(nn.Sequential):
    """A depthwise k x k and a pointwise 1 x 1 convolution, each with norm and activation.

    Made like `ConvNormAct` and of the same output size. MobileNet (Howard et al. 2017), fig. 3;
    YOLOX-Nano's `DWConv`.
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
    ) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(
            in_channels, in_channels, kernel, stride, norm=norm, act=act, groups=in_channels
        )
        self.pointwise = ConvNormAct(in_channels, out_channels, 1, norm=norm, act=act)


def spatial(depthwise: bool) -> type[ConvNormAct] | type[SeparableConvNormAct]:
    """What a network takes for its convolutions of more than one cell."""
    return SeparableConvNormAct if depthwise else ConvNormAct
