"""Max pooling with darknet's padding, and the spatial pyramid made of it."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.layers.conv import Activation, Norm
from detectors.layers.dark import alternating


class DarkPool(nn.Module):
    """Maximum over a window: [B, C, H, W] -> [B, C, ceil(H / stride), ceil(W / stride)].

    darknet `src/maxpool_layer.c`: `size - 1` cells of padding in total, the smaller half on the
    left and on top. So a window of 2 with stride 1 extends one cell to the right and below.

    Args:
        size: cells along a side of the window; odd, or 2.
        stride: 1 or 2.

    Raises:
        ValueError: `size` is even and not 2.
    """

    def __init__(self, size: int, stride: int = 1) -> None:
        super().__init__()
        if size % 2 == 0 and size != 2:
            raise ValueError(f"a window of {size} cells: choose an odd size, or 2")
        self.size, self.stride = size, stride

    def forward(self, x: Tensor) -> Tensor:
        if self.size % 2 == 1:
            return F.max_pool2d(x, self.size, self.stride, padding=self.size // 2)
        if self.stride == 1:
            x = F.pad(x, (0, 1, 0, 1), value=-torch.inf)
        return F.max_pool2d(x, self.size, self.stride, ceil_mode=True)

    def extra_repr(self) -> str:
        return f"{self.size}, stride={self.stride}"


class SpatialPyramid(nn.Module):
    """Concatenates the maxima over several windows with the input: [B, C, H, W] -> [B, 4 C, H, W].

    SPP of YOLOv3-SPP and YOLOv4 (sec. 3.4; `cfg/yolov4.cfg`, layers 108 to 113).

    Args:
        sizes: sides of the windows in cells, in the order of the channels; the input comes last.
    """

    def __init__(self, sizes: tuple[int, ...] = (13, 9, 5)) -> None:
        super().__init__()
        self.pools = nn.ModuleList(DarkPool(size) for size in sizes)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*(pool(x) for pool in self.pools), x], dim=1)


class StackedPyramid(nn.Module):
    """The values of a `SpatialPyramid`, each window over the maxima of the one before.

    SPPF: three windows of 5 cells see 5, 9 and 13. Where cells are equal the gradient may go to
    another one of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pool = DarkPool(5)

    def forward(self, x: Tensor) -> Tensor:
        near = self.pool(x)
        far = self.pool(near)
        return torch.cat([self.pool(far), far, near, x], dim=1)


def pyramid_set(
    in_channels: int, width: int, norm: Norm | None, act: Activation | None
) -> nn.Sequential:
    """Three convolutions, a spatial pyramid, and three more with `width` output channels.

    `cfg/yolov4.cfg`, layers 105 to 116; `cfg/yolov3-spp.cfg`, layers 75 to 86.
    """
    return nn.Sequential(
        alternating(in_channels, width, 3, norm, act),
        SpatialPyramid(),
        alternating(4 * width, width, 3, norm, act),
    )
