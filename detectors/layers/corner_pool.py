"""Corner pooling: looks along rows and columns for what belongs to a corner or a centre.

Corner pooling is of CornerNet (Law and Deng 2018, sec. 3.4), cascade corner pooling and centre
pooling are of CenterNet (Duan et al. 2019, "Keypoint Triplets", sec. 3.3). Those of a corner are
made with `(channels, corner=)`, that of a centre with `(channels)`; all give a map for a map.
"""

from typing import Literal

from torch import Tensor, nn

from detectors.layers.conv import Activation, ConvNormAct, Norm, activation
from detectors.ops.running import running_maximum
from detectors.ranges import Count

Corner = Literal["top_left", "bottom_right"]
ROWS, COLUMNS = 2, 3  # dimensions of a map


def look(x: Tensor, dim: int, corner: Corner) -> Tensor:
    """The largest value from each place on into the objects that have such a corner there.

    Objects lie right of and below their top left corner, left of and above the other. Along ROWS
    the left or right side of an object is seen, along COLUMNS the upper or lower one.
    """
    return running_maximum(x, dim, backwards=corner == "top_left")


class CornerPool(nn.Module):
    """Two maps, one pooled along rows and one along columns, added to the input (Fig. 7).

    Args:
        channels: of the map.
        corner: which one is looked for.
        norm, act: of the convolutions.
        width: channels of the two maps; half of `channels` if None, as in the releases.
    """

    def __init__(
        self,
        channels: int,
        corner: Corner,
        norm: Norm,
        act: Activation,
        width: Count | None = None,
    ) -> None:
        super().__init__()
        width = width or channels // 2
        self.corner = corner
        self.rows = ConvNormAct(channels, width, 3, norm=norm, act=act)
        self.columns = ConvNormAct(channels, width, 3, norm=norm, act=act)
        self.joined = Joined(channels, width, norm, act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] alike."""
        rows = look(self.rows(x), ROWS, self.corner)
        return self.joined(x, rows + look(self.columns(x), COLUMNS, self.corner))


class Joined(nn.Module):
    """What was pooled, added to the map that it was pooled from.

    Args:
        channels: of the map.
        width: channels of what was pooled.
        norm, act: of the convolutions.
    """

    def __init__(self, channels: int, width: int, norm: Norm, act: Activation) -> None:
        super().__init__()
        self.pooled = ConvNormAct(width, channels, 3, norm=norm, act=None)
        self.skip = ConvNormAct(channels, channels, 1, norm=norm, act=None)
        self.act = activation(act, channels)
        self.last = ConvNormAct(channels, channels, 3, norm=norm, act=act)

    def forward(self, x: Tensor, pooled: Tensor) -> Tensor:
        return self.last(self.act(self.pooled(pooled) + self.skip(x)))


class CascadeCornerPool(nn.Module):
    """Corner pooling that also sees what is inside of the object (CenterNet, Fig. 4c and 5b).

    Before a map is pooled along one axis, another is added to it that is pooled along the other. So
    each side of the object is looked for with what lies behind it.

    Args:
        channels, corner, norm, act, width: as of `CornerPool`.
    """

    def __init__(
        self,
        channels: int,
        corner: Corner,
        norm: Norm,
        act: Activation,
        width: Count | None = None,
    ) -> None:
        super().__init__()
        width = width or channels // 2

        def made() -> ConvNormAct:
            return ConvNormAct(channels, width, 3, norm=norm, act=act)

        self.corner = corner
        self.rows, self.columns = made(), made()
        self.inside_rows, self.inside_columns = made(), made()
        self.mixed_rows = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.mixed_columns = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.joined = Joined(channels, width, norm, act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] alike."""
        inside = look(self.inside_rows(x), COLUMNS, self.corner)
        rows = look(self.mixed_rows(self.rows(x) + inside), ROWS, self.corner)
        inside = look(self.inside_columns(x), ROWS, self.corner)
        columns = look(self.mixed_columns(self.columns(x) + inside), COLUMNS, self.corner)
        return self.joined(x, rows + columns)


class CenterPool(nn.Module):
    """The largest value of a cell's whole column and of its whole row (CenterNet, Fig. 4a and 5a).

    Args:
        channels, norm, act, width: as of `CornerPool`.
    """

    def __init__(
        self, channels: int, norm: Norm, act: Activation, width: Count | None = None
    ) -> None:
        super().__init__()
        width = width or channels // 2
        self.rows = ConvNormAct(channels, width, 3, norm=norm, act=act)
        self.columns = ConvNormAct(channels, width, 3, norm=norm, act=act)
        self.joined = Joined(channels, width, norm, act)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] alike."""
        rows = self.rows(x).amax(ROWS, keepdim=True)
        return self.joined(x, rows + self.columns(x).amax(COLUMNS, keepdim=True))
