"""Reorders a feature map into one of fewer cells and more channels."""

from torch import Tensor


def reorg(x: Tensor, factor: int = 2) -> Tensor:
    """Reorder [B, C, H, W] to [B, f^2 C, H / f, W / f] as darknet's `[reorg]` layer does.

    This is not space-to-depth: darknet calls `reorg_cpu` (`src/blas.c`) in the wrong direction and
    reads the memory as C / f^2 planes of f H x f W, so that f neighbouring rows count as one wide
    row. All released weights expect it. C must be a multiple of f^2, H and W of f.
    """
    batch, channels, height, width = x.shape
    wide = x.reshape(batch, channels // factor**2, height, factor, width, factor)
    folded = wide.permute(0, 3, 5, 1, 2, 4)
    return folded.reshape(batch, factor**2 * channels, height // factor, width // factor)


def space_to_depth(x: Tensor, factor: int = 2) -> Tensor:
    """Reorder [B, C, H, W] to [B, f^2 C, H / f, W / f], as darknet's `[reorg3d]` layer does.

    Channel (dy f + dx) C + c holds the cells in row dy and column dx of the squares of channel c.
    """
    batch, channels, height, width = x.shape
    cells = x.reshape(batch, channels, height // factor, factor, width // factor, factor)
    folded = cells.permute(0, 3, 5, 1, 2, 4)
    return folded.reshape(batch, factor**2 * channels, height // factor, width // factor)
