import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.deformable import DeformableConv, bilinear_init


def test_starts_as_a_convolution_of_half_strength() -> None:
    layer, x = DeformableConv(5, 7), torch.randn(2, 5, 6, 9)
    nn.init.normal_(layer.conv.bias)
    expected = F.conv2d(x, layer.conv.weight / 2, layer.conv.bias, padding=1)
    torch.testing.assert_close(layer(x), expected)


def _sampled(x: Tensor, row: float, column: float) -> Tensor:
    """Bilinear value of [C, H, W] at a place; zero outside."""
    value = torch.zeros(len(x))
    for i in (int(row // 1), int(row // 1) + 1):
        for j in (int(column // 1), int(column // 1) + 1):
            if 0 <= i < x.shape[1] and 0 <= j < x.shape[2]:
                value += x[:, i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return value


def test_samples_where_the_shifts_say() -> None:
    """Deformable ConvNets v2, eq. 1, as loops; shifts are (dy, dx) of each of the nine samples."""
    layer, x = DeformableConv(2, 3), torch.randn(1, 2, 4, 5)
    nn.init.normal_(layer.offset.weight, std=0.3)
    nn.init.normal_(layer.offset.bias)
    predicted = layer.offset(x)[0]
    expected = torch.zeros(1, 3, 4, 5)
    for i in range(4):
        for j in range(5):
            for tap in range(9):
                down, right = predicted[2 * tap, i, j], predicted[2 * tap + 1, i, j]
                place = (i + tap // 3 - 1 + down.item(), j + tap % 3 - 1 + right.item())
                sample = _sampled(x[0], *place) * predicted[18 + tap, i, j].sigmoid()
                expected[0, :, i, j] += layer.conv.weight[:, :, tap // 3, tap % 3] @ sample
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 4])
def test_bilinear_layer_keeps_a_slope(factor: int) -> None:
    deconv = nn.ConvTranspose2d(
        3, 3, 2 * factor, stride=factor, padding=factor // 2, groups=3, bias=False
    )
    bilinear_init(deconv)
    x = torch.arange(6.0).expand(1, 3, 6, 6)
    inner = deconv(x)[..., factor:-factor, factor:-factor]
    expected = F.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)
    torch.testing.assert_close(inner, expected[..., factor:-factor, factor:-factor])


def test_autocast_loses_no_digits_of_the_shifts() -> None:
    layer = DeformableConv(3, 2)
    nn.init.normal_(layer.offset.weight)
    image = torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        shifts, weights = layer.offset(image).float().split((18, 9), dim=1)
        found = layer(image)
    torch.testing.assert_close(found, layer.conv(image, shifts, weights.sigmoid()))
