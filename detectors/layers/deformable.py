"""Deformable convolutions, and the bilinear start of the layers that enlarge their maps."""

import math

import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d


class DeformableConv(nn.Module):
    """A 3x3 convolution with nine samples that another convolution shifts and weights.

    "Deformable ConvNets v2" (Zhu et al. 2018), eq. 1: of the 27 channels of `offset`, 18 are the
    shifts (dy, dx) of the samples in cells and nine are the logits of their weights. All start at
    zero, so that the layer starts as an ordinary convolution of half strength. It computes in
    float32, to which torchvision's kernel casts under autocast.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(in_channels, 27, 3, padding=1)
        self.conv = DeformConv2d(in_channels, channels, 3, padding=1)
        nn.init.zeros_(self.offset.weight)
        for layer in (self.offset, self.conv):
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, channels, H, W]."""
        shifts, weights = self.offset(x).float().split((18, 9), dim=1)
        return self.conv(x.float(), shifts, weights.sigmoid()).to(x.dtype)


def bilinear_init(deconv: nn.ConvTranspose2d) -> None:
    """Make the first output channel of each group a bilinear interpolation.

    As `fill_up_weights` of CenterNet's release does. A depthwise layer has no other output
    channels; in an ordinary layer the others keep their random weights.
    """
    size = deconv.kernel_size[0]
    middle, reach = (size - 1) / 2, math.ceil(size / 2)
    line = 1 - (torch.arange(size) - middle).abs() / reach
    with torch.no_grad():
        deconv.weight[:, 0] = line[:, None] * line
