"""Blocks of darknet, the code base of YOLO."""

from itertools import pairwise

from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm


class DarkBlock(nn.Module):
    """1x1 to fewer channels, 3x3 back, plus the input; nothing follows the sum.

    YOLOv3, Table 1; darknet `cfg/yolov3.cfg`, layers 2 to 4.

    Args:
        channels: in and out.
        hidden: in between; half of them if None.
    """

    def __init__(
        self, channels: int, norm: Norm | None, act: Activation | None, hidden: int | None = None
    ) -> None:
        super().__init__()
        hidden = hidden or channels // 2
        self.squeeze = ConvNormAct(channels, hidden, 1, norm=norm, act=act)
        self.expand = ConvNormAct(hidden, channels, 3, norm=norm, act=act)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.expand(self.squeeze(x))


def alternating(
    in_channels: int, width: int, count: int, norm: Norm | None, act: Activation | None
) -> nn.Sequential:
    """`count` convolutions: 1x1 to `width`, 3x3 to twice that, 1x1, 3x3, ..."""
    widths = [width if i % 2 == 0 else 2 * width for i in range(count)]
    return nn.Sequential(
        *(
            ConvNormAct(before, after, 1 + 2 * (i % 2), norm=norm, act=act)
            for i, (before, after) in enumerate(pairwise([in_channels, *widths]))
        )
    )


def five_set(
    in_channels: int, width: int, norm: Norm | None, act: Activation | None
) -> nn.Sequential:
    """Five convolutions, `width` channels out: `cfg/yolov3.cfg`, layers 75 to 79."""
    return alternating(in_channels, width, 5, norm, act)


def init_darknet(module: nn.Module) -> None:
    """Draw every convolution inside from uniform +-sqrt(2 / fan in), zero its bias.

    Fan in is k * k * in_channels / groups; darknet `src/convolutional_layer.c`.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            bound = (2 / layer.weight[0].numel()) ** 0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
