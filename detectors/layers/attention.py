"""Blocks that weigh features by themselves: [B, C, H, W] -> [B, C, H, W]."""

import torch
from torch import Tensor, nn

from detectors.layers.conv import ConvNormAct, Norm


class SqueezeExcitation(nn.Module):
    """Channels weighed by what the whole map holds of them (Hu et al. 2018, eq. 2 to 4).

    Args:
        channels: in and out.
        reduction: how many times fewer units the hidden layer has; 16 in sec. 6.1 there.
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.channels = _channel_layers(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.channels(x.mean((-2, -1), keepdim=True)).sigmoid()


class PointwiseAttention(nn.Module):
    """Every value weighed by a 1x1 convolution of its cell (YOLOv4, sec. 3.4, fig. 5b).

    A norm stands before the sigmoid, as in AlexeyAB's `cfg/yolov4-sam-mish-csp-reorg-bfm.cfg`.
    """

    def __init__(self, channels: int, norm: Norm | None) -> None:
        super().__init__()
        self.weigh = ConvNormAct(channels, channels, 1, norm=norm, act=nn.Sigmoid)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x)


class CBAM(nn.Module):
    """Channels weighed, then cells, both by means and maxima (Woo et al. 2018, eq. 2 and 3).

    Args:
        channels: in and out.
        reduction: as `SqueezeExcitation`.
        kernel: of the convolution that weighs cells; 7 in table 3 there.
    """

    def __init__(self, channels: int, reduction: int = 16, kernel: int = 7) -> None:
        super().__init__()
        self.channels = _channel_layers(channels, reduction)
        self.cells = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mean, largest = x.mean((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
        x = x * (self.channels(mean) + self.channels(largest)).sigmoid()
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * self.cells(seen).sigmoid()


def _channel_layers(channels: int, reduction: int) -> nn.Sequential:
    """The two layers between a summary of the channels and their weights before the sigmoid."""
    hidden = max(channels // reduction, 1)
    return nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
