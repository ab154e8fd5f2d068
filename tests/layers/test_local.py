import torch
import torch.nn.functional as F

from detectors.layers.local import LocalConv


def test_each_position_has_a_convolution_of_its_own() -> None:
    layer, x = LocalConv(3, 2, height=4, width=5), torch.randn(2, 3, 4, 5)
    torch.nn.init.normal_(layer.bias)
    found = layer(x)
    for position in range(20):
        row, column = divmod(position, 5)
        kernel = layer.weight[position].view(2, 3, 3, 3)
        bias = layer.bias.view(2, 4, 5)[:, row, column]
        expected = F.conv2d(x, kernel, bias, padding=1)[:, :, row, column]
        torch.testing.assert_close(found[:, :, row, column], expected)
