"""Layers that leave out parts of a feature map while training: `(channels, ...) -> module`."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.progress import Timed
from detectors.ranges import Count, Share
from detectors.structures import Progress


class DropBlock(Timed):
    """Sets squares of each channel to zero and scales up the rest (Ghiasi et al. 2018).

    Algorithm 1: the middles of squares are drawn at the rate of eq. 1 where a whole square fits,
    and the values kept are multiplied by all values over kept ones. The share kept falls linearly
    from 1 at the start of training to `keep` at its end ("scheduled DropBlock", sec. 3).

    Args:
        channels: of the maps.
        keep: share of values kept at the end; 0.9 in sec. 4.2.
        size: side of a square in cells, cut to the map's; 7 in sec. 4.1.

    Raises:
        ValueError: keep is no share.
    """

    done: Tensor

    def __init__(self, channels: int, keep: Share = 0.9, size: Count = 7) -> None:
        super().__init__()
        if not 0 < keep <= 1:
            raise ValueError(f"DropBlock keeps a share of {keep}: expected one in (0, 1]")
        self.keep, self.size = keep, size
        self.register_buffer("done", torch.zeros(()), persistent=False)  # share of the run

    def begin(self, progress: Progress) -> None:
        self.done.fill_(progress.step / progress.steps)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        self.require_progress()
        height, width = x.shape[-2:]
        size = min(self.size, height, width)
        dropped = (1 - self.keep) * self.done
        rate = seed_rate(dropped, size, height, width)
        room = (*x.shape[:2], height - size + 1, width - size + 1)
        seeds = (torch.rand(room, device=x.device) < rate).float()
        kept = 1 - F.max_pool2d(F.pad(seeds, [size - 1] * 4), size, stride=1)
        return x * (kept * (kept.numel() / kept.sum().clamp(min=1))).to(x.dtype)

    def extra_repr(self) -> str:
        return f"keep={self.keep}, size={self.size}"


def seed_rate(dropped: Tensor, size: Count, height: int, width: int) -> Tensor:
    """Probability that a cell is the middle of a square, if a share `dropped` shall go (eq. 1)."""
    return dropped / size**2 * (height * width) / ((height - size + 1) * (width - size + 1))


def dropout(channels: int, probability: Share) -> nn.Dropout:
    """Drops single values (Srivastava et al. 2014)."""
    return nn.Dropout(probability)


def spatial_dropout(channels: int, probability: Share) -> nn.Dropout2d:
    """Drops whole channels of an image (Tompson et al. 2015, sec. 3.2)."""
    return nn.Dropout2d(probability)
