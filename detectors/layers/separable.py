"""A depthwise convolution and a pointwise one in the place of a full one, and how they start."""

from math import sqrt

from torch import Tensor, nn

from detectors.ranges import Count


class SeparableConv(nn.Sequential):
    """[B, in, H, W] -> [B, out, H, W]: 3x3 within each channel, then 1x1 over all of them.

    Each of the two starts with normal weights of variance 1 / fan in, and with a bias of zero, as
    the heads of effdet's EfficientDet; the release cuts the normal at two standard deviations.

    Args:
        bias: of the 1x1 convolution; the 3x3 has none.
    """

    def __init__(self, in_channels: Count, out_channels: Count, bias: bool = True) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False
        )
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=bias)
        for conv in (self.depthwise, self.pointwise):
            nn.init.normal_(conv.weight, std=1 / sqrt(conv.weight[0].numel()))
        if self.pointwise.bias is not None:
            nn.init.zeros_(self.pointwise.bias)

    @property
    def bias(self) -> Tensor | None:
        """That of the 1x1 convolution."""
        return self.pointwise.bias


def glorot(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases for every convolution in `module`.

    Glorot and Bengio 2010, eq. 16: up to `sqrt(6 / (fan in + fan out))`, both of one group.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.weight[:, 0].numel() / layer.groups
            limit = sqrt(6 / (layer.weight[0].numel() + fan_out))
            nn.init.uniform_(layer.weight, -limit, limit)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
