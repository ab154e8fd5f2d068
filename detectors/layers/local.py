"""A convolution with weights of its own at each position."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LocalConv(nn.Module):
    """A 3x3 convolution of stride 1 with weights of its own at each position (darknet `[local]`).

    [B, in, H, W] -> [B, out, H, W] for the given H and W only. Weights and biases have the memory
    layout of a darknet file. The weights of all positions are drawn from uniform +-sqrt(2 / fan
    in); the loop in darknet's `src/local_layer.c` stops after the first position and leaves the
    others at zero.
    """

    def __init__(self, in_channels: int, out_channels: int, height: int, width: int) -> None:
        super().__init__()
        self.height, self.width = height, width
        fan_in = 9 * in_channels
        self.weight = nn.Parameter(torch.empty(height * width, out_channels, fan_in))
        self.bias = nn.Parameter(torch.zeros(out_channels * height * width))
        nn.init.uniform_(self.weight, -((2 / fan_in) ** 0.5), (2 / fan_in) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        patches = F.unfold(x, 3, padding=1)  # [B, 9 * in, H * W]
        summed = torch.einsum("bkp,pok->bop", patches, self.weight)
        return (summed.flatten(1) + self.bias).unflatten(1, (-1, self.height, self.width))
