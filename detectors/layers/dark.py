"""Blocks of darknet, the code base of YOLO."""

from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm


class DarkBlock(nn.Module):
    """1x1 to half the channels, 3x3 back, plus the input; nothing follows the sum.

    YOLOv3, Table 1; darknet `cfg/yolov3.cfg`, layers 2 to 4.
    """

    def __init__(self, channels: int, norm: Norm | None, act: Activation | None) -> None:
        super().__init__()
        self.squeeze = ConvNormAct(channels, channels // 2, 1, norm=norm, act=act)
        self.expand = ConvNormAct(channels // 2, channels, 3, norm=norm, act=act)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.expand(self.squeeze(x))


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
