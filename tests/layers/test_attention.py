"""Attention against loops over the papers' equations."""

import torch
from torch import Tensor, nn

from detectors.layers.attention import CBAM, PointwiseAttention, SqueezeExcitation

X = torch.Generator().manual_seed(1)


def _hidden(layers: nn.Sequential, vector: Tensor) -> Tensor:
    first, _, second = layers
    inside = (first.weight.flatten(1) @ vector + first.bias).clamp(min=0)
    return second.weight.flatten(1) @ inside + second.bias


def test_squeeze_excitation_weighs_channels() -> None:
    block, x = SqueezeExcitation(8, reduction=4), torch.randn(2, 8, 3, 5, generator=X)
    for image, output in zip(x, block(x), strict=True):
        weights = torch.sigmoid(_hidden(block.channels, image.flatten(1).mean(1)))
        torch.testing.assert_close(output, image * weights[:, None, None])


def test_pointwise_attention_looks_at_one_cell_only() -> None:
    block, x = PointwiseAttention(4, nn.BatchNorm2d).eval(), torch.randn(1, 4, 3, 3, generator=X)
    cell = x[0, :, 1, 2]
    weights = block.weigh.conv.weight.flatten(1) @ cell / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(block(x)[0, :, 1, 2], cell * torch.sigmoid(weights))


def test_cbam_weighs_channels_then_cells() -> None:
    block, x = CBAM(8, reduction=4, kernel=3), torch.randn(2, 8, 4, 5, generator=X)
    for image, output in zip(x, block(x), strict=True):
        flat = image.flatten(1)
        sums = _hidden(block.channels, flat.mean(1)) + _hidden(block.channels, flat.amax(1))
        weighed = image * torch.sigmoid(sums)[:, None, None]
        seen = torch.stack([weighed.mean(0), weighed.amax(0)])
        cells = nn.functional.conv2d(seen[None], block.cells.weight, padding=1)[0]
        torch.testing.assert_close(output, weighed * torch.sigmoid(cells))
