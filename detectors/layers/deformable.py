"""Convolutions whose samples move."""

import math

import torch
from torch import Tensor, nn
from torchvision.ops import DeformConv2d


class DeformableConv(nn.Module):
    """3x3 convolution whose nine samples are shifted and weighed by another one (Zhu et al. 2018).

    "Deformable ConvNets v2", eq. 1: of the 27 channels of `offset` 18 are shifts (dy, dx) of each
    sample in cells, nine the logits of their weights. They start at zero, so at first it is an
    ordinary convolution of half strength. Computed in float32, to which torchvision's kernel
    casts under autocast.
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
    """Set the first output channel of each group to bilinear interpolation.

    What CenterNet's release does (`fill_up_weights`): all there is in a depthwise layer; in an
    ordinary one the other output channels stay as they were drawn.
    """
    size = deconv.kernel_size[0]
    middle, reach = (size - 1) / 2, math.ceil(size / 2)
    line = 1 - (torch.arange(size) - middle).abs() / reach
    with torch.no_grad():
        deconv.weight[:, 0] = line[:, None] * line
