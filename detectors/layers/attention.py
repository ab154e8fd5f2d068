"""Blocks that weight features by their own content: [B, C, H, W] -> [B, C, H, W]."""

import torch
from torch import Tensor, nn

from detectors.layers.conv import ConvNormAct, Norm
from detectors.ranges import Count


class SqueezeExcitation(nn.Module):
    """Weights each channel by the means of all channels over the map (Hu et al. 2018, eq. 2 to 4).

    Args:
        channels: of the input and the output.
        reduction: channels per unit of the hidden layer; 16 in sec. 6.1 of the paper.
    """

    def __init__(self, channels: int, reduction: Count = 16) -> None:
        super().__init__()
        self.channels = _channel_layers(channels, reduction)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.channels(x.mean((-2, -1), keepdim=True)).sigmoid()


class PointwiseAttention(nn.Module):
    """Weights every value by a 1x1 convolution of its cell (YOLOv4, sec. 3.4, fig. 5b).

    The sigmoid follows a norm, as in AlexeyAB's `cfg/yolov4-sam-mish-csp-reorg-bfm.cfg`.
    """

    def __init__(self, channels: int, norm: Norm | None) -> None:
        super().__init__()
        self.weigh = ConvNormAct(channels, channels, 1, norm=norm, act=nn.Sigmoid)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weigh(x)


class CBAM(nn.Module):
    """Weights channels, then cells, each by means and maxima (Woo et al. 2018, eq. 2 and 3).

    The release has a batch norm behind the convolution that weights cells (`MODELS/cbam.py`), which
    the paper does not mention and which is left out here.

    Args:
        channels: of the input and the output.
        reduction: as in `SqueezeExcitation`.
        kernel: side of the convolution that weights cells; 7 in table 3 of the paper.
    """

    def __init__(self, channels: int, reduction: Count = 16, kernel: Count = 7) -> None:
        super().__init__()
        self.channels = _channel_layers(channels, reduction)
        self.cells = nn.Conv2d(2, 1, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        mean, largest = x.mean((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
        x = x * (self.channels(mean) + self.channels(largest)).sigmoid()
        seen = torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], dim=1)
        return x * self.cells(seen).sigmoid()


def _channel_layers(channels: int, reduction: Count) -> nn.Sequential:
    """The two layers that turn a summary of the channels into the logits of their weights."""
    hidden = max(channels // reduction, 1)
    return nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, channels, 1))
