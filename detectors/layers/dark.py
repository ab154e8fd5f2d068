"""Blocks of darknet, the code base of the YOLO families."""

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm, spatial
from detectors.layers.fusion import UnweightedSum


class DarkBlock(nn.Module):
    """A residual block: 1x1 to fewer channels, 3x3 back; nothing follows the sum.

    YOLOv3, Table 1; darknet `cfg/yolov3.cfg`, layers 2 to 4.

    Args:
        channels: of the input and the output.
        hidden: channels between the two convolutions; None: half of `channels`.
        depthwise: whether the second one is separable.
    """

    def __init__(
        self,
        channels: int,
        norm: Norm | None,
        act: Activation | None,
        hidden: int | None = None,
        depthwise: bool = False,
    ) -> None:
        super().__init__()
        hidden = hidden or channels // 2
        self.squeeze = ConvNormAct(channels, hidden, 1, norm=norm, act=act)
        self.expand = spatial(depthwise)(hidden, channels, 3, norm=norm, act=act)
        self.drop: nn.Module = nn.Identity()
        self.join: nn.Module = UnweightedSum(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.join([x, self.drop(self.expand(self.squeeze(x)))])


def vary_residuals(
    network: nn.Module, drop_path_rate: float, join: Callable[[int], nn.Module] | None
) -> None:
    """Change how the `DarkBlock`s of `network` add their branch to their input.

    Args:
        drop_path_rate: probability that training skips the branch of the last block for an image;
            it rises linearly from 0 at the first block, as in timm ("stochastic depth", Huang et
            al. 2016, eq. 4, starts above 0).
        join: `(2) -> module` that joins a list of input and branch; None: their sum.
    """
    blocks = [layer for layer in network.modules() if isinstance(layer, DarkBlock)]
    for index, block in enumerate(blocks):
        if drop_path_rate:
            from torchvision.ops import StochasticDepth

            rate = drop_path_rate * index / max(len(blocks) - 1, 1)
            block.drop = StochasticDepth(rate, "row")
        if join is not None:
            block.join = join(2)


def alternating(
    in_channels: int, width: int, count: int, norm: Norm | None, act: Activation | None
) -> nn.Sequential:
    """`count` convolutions: 1x1 to `width` channels, 3x3 to twice as many, 1x1, 3x3, ..."""
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
    """Five convolutions with `width` output channels: `cfg/yolov3.cfg`, layers 75 to 79."""
    return alternating(in_channels, width, 5, norm, act)


def init_darknet(module: nn.Module) -> None:
    """Draw the weights of every convolution from uniform +-sqrt(2 / fan in) and zero its bias.

    Fan in is k * k * in_channels / groups; darknet `src/convolutional_layer.c`.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            bound = (2 / layer.weight[0].numel()) ** 0.5
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
