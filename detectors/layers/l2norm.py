"""Normalisation of each cell's vector of channels to a learnt length."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ScaledL2Norm(nn.Module):
    """Scales every cell's vector of channels to length one, then each channel by a learnt factor.

    ParseNet (Liu et al. 2015, sec. 3.3); SSD, sec. 3.1, starts the scale at 20.
    """

    def __init__(self, channels: int, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return (F.normalize(x.float()) * self.scale.view(1, -1, 1, 1)).to(x.dtype)
