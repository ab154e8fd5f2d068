"""What tags cost by which the points of an object find each other."""

import torch
from torch import Tensor, nn

from detectors.ranges import Positive, Weight


class PullPush(nn.Module):
    """Tags of one object are pulled to their mean, the means of two pushed apart.

    CornerNet, sec. 3.3, eqs. 4 and 5, after Newell et al. 2017, "Associative embedding". Each is a
    mean over the objects, or their pairs, of an image, and over the images. The release sums over
    the images of a device, which its weights of 0.1 are to be multiplied by, and where an image has
    one object it adds a constant to `push`.

    Args:
        pull, push: weights.
        margin: means that lie farther apart cost nothing.
    """

    def __init__(self, pull: Weight, push: Weight, margin: Positive = 1.0) -> None:
        super().__init__()
        self.pull, self.push, self.margin = pull, push, margin

    def forward(self, first: Tensor, second: Tensor, real: Tensor) -> dict[str, Tensor]:
        """`pull` and `push`, scalars.

        Args:
            first, second: [B, M] the tags of each object's points, any number where there is none.
            real: [B, M] bool, rows that are objects.
        """
        weight = real.float()
        count = weight.sum(1)
        mean = (first + second) / 2
        away = (first - mean).square() + (second - mean).square()
        pull = (away * weight).sum(1) / count.clamp(min=1)
        near = (self.margin - (mean[:, :, None] - mean[:, None]).abs()).relu()
        others = ~torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
        both = weight[:, :, None] * weight[:, None] * others
        push = (near * both).sum((1, 2)) / (count * (count - 1)).clamp(min=1)
        return {"pull": self.pull * pull.mean(), "push": self.push * push.mean()}
