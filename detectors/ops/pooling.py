"""RoI pooling over a pyramid, as one gather of static shape."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from detectors.ops.boxes import sides


def pyramid_levels(boxes: Tensor, strides: list[int]) -> Tensor:
    """Level index [...] of boxes [..., 4]: `floor(4 + log2(sqrt(w h) / 224))` (FPN, eq. 1).

    Level 4 of the equation is the one of stride 16; 1e-6 inside the floor as in torchvision.
    """
    finest = strides[0].bit_length() - 1
    coarsest = strides[-1].bit_length() - 1
    size = sides(boxes).clamp(min=0).prod(-1).sqrt()
    level = torch.floor(4 + torch.log2(size / 224 + 1e-12) + 1e-6)
    return level.clamp(finest, coarsest).long() - finest


def roi_align_pyramid(
    features: list[Tensor], boxes: Tensor, strides: list[int], size: int = 7, sampling: int = 2
) -> Tensor:
    """RoIAlign (He et al. 2017, sec. 3) of each box from the pyramid level that fits its size.

    Equals torchvision's `MultiScaleRoIAlign(aligned=False)`. All levels are laid into one table of
    feature rows; each bin is a weighted sum of the rows around its sampling points, which
    `embedding_bag` computes without a shape that depends on where the boxes lie.

    Args:
        features: per level [B, C, H, W], finest first.
        boxes: [B, R, 4] xyxy pixels of the network input.
        strides: input pixels per cell of each level, powers of two.
        size: bins per side.
        sampling: sampling points per side of a bin.

    Returns:
        [B, R, C, size, size], summed in float32, of the features' type.
    """
    batch, rois = boxes.shape[:2]
    table = torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in features], dim=1)
    level = pyramid_levels(boxes, strides)
    geometry = _level_geometry(features, strides, boxes.device)[level]  # [B, R, 4]
    width, height, scale, start = geometry.unbind(-1)
    image = torch.arange(batch, device=boxes.device)[:, None] * table.shape[1]

    x1, y1, x2, y2 = (boxes * scale[..., None]).unbind(-1)
    columns, column_weights = _axis_samples(x1, x2, width, size, sampling)  # [B, R, size, S, 2]
    rows, row_weights = _axis_samples(y1, y2, height, size, sampling)
    # From two axes to bins [.., size y, size x] of (S * 2) * (S * 2) weighted neighbours.
    rows = rows.flatten(3)[:, :, :, None, :, None]
    columns = columns.flatten(3)[:, :, None, :, None, :]
    base = (image + start.long())[:, :, None, None, None, None]
    index = base + rows * width.long()[:, :, None, None, None, None] + columns
    weights = (
        row_weights.flatten(3)[:, :, :, None, :, None]
        * column_weights.flatten(3)[:, :, None, :, None, :]
    )
    neighbours = (2 * sampling) ** 2
    pooled = weighted_rows(
        table.flatten(0, 1).float(),
        index.reshape(-1, neighbours),
        weights.reshape(-1, neighbours) / sampling**2,
    )
    bins = pooled.to(table.dtype).view(batch, rois, size, size, -1)
    return bins.permute(0, 1, 4, 2, 3)


def _level_geometry(features: list[Tensor], strides: list[int], device: torch.device) -> Tensor:
    """[L, 4]: width, height, cells per pixel and first row in the table of each level."""
    rows, start = [], 0
    for level, stride in zip(features, strides, strict=True):
        height, width = level.shape[-2:]
        rows.append([width, height, 1 / stride, start])
        start += height * width
    return torch.tensor(rows, dtype=torch.float64, device=device).float()


def _axis_samples(
    low: Tensor, high: Tensor, length: Tensor, size: int, sampling: int
) -> tuple[Tensor, Tensor]:
    """Two neighbouring cells and their linear weights for each sampling point of one axis.

    Args:
        low, high: [B, R] ends of the RoI in cells.
        length: [B, R] cells of the level along this axis.

    Returns:
        Cells [B, R, size, sampling, 2] int64 and weights alike. A point more than one cell outside
        weighs nothing; one less far outside is moved to the border.
    """
    steps = torch.arange(size * sampling, device=low.device).view(size, sampling)
    extent = (high - low).clamp(min=1.0)  # aligned=False: at least one cell
    position = low[..., None, None] + (steps + 0.5) * (extent / (size * sampling))[..., None, None]
    last = length[..., None, None] - 1
    inside = (position >= -1) & (position <= last + 1)
    position = position.clamp(min=0).minimum(last)
    cell = position.floor()
    fraction = position - cell
    cells = torch.stack([cell, (cell + 1).minimum(last)], dim=-1).long()
    weights = torch.stack([1 - fraction, fraction], dim=-1) * inside[..., None]
    return cells, weights


def weighted_rows(table: Tensor, index: Tensor, weights: Tensor) -> Tensor:
    """Sums [n, C] of k rows each of a table [m, C], with weights; `index` and `weights` [n, k]."""
    return F.embedding_bag(index, table, per_sample_weights=weights, mode="sum")


def precise_pyramid(
    features: list[Tensor],
    boxes: Tensor,
    strides: list[int],
    size: int = 7,
    summed: Callable[[Tensor, Tensor, Tensor], Tensor] = weighted_rows,
) -> Tensor:
    """Precise RoI pooling (Jiang et al. 2018, "IoU-Net", sec. 3.3) from the level that fits.

    The mean over each bin of the feature interpolated linearly between cells, and zero from one
    cell outside on: an exact integral, without sampling points, whose gradient reaches the boxes.
    The integral from the corner of a level to any point is a weighted sum of nine entries of its
    summed area table, and that over a bin is four such integrals. The table is float64, because
    differences of sums over a whole level would leave float32 few digits.

    Args:
        features: per level [B, C, H, W], finest first.
        boxes: [B, R, 4] xyxy pixels of the network input; a bin of no area gives 0.
        strides: input pixels per cell of each level, powers of two.
        size: bins per side.
        summed: what sums rows of the table, as `weighted_rows`, in float64.

    Returns:
        [B, R, C, size, size] of the features' type.
    """
    batch, rois = boxes.shape[:2]
    tables = [_summed_area(level) for level in features]
    table = torch.cat([t.flatten(1, 2) for t in tables], dim=1)  # [B, cells, C]
    level = pyramid_levels(boxes, strides)
    geometry = _table_geometry(tables, strides, boxes.device)[level]  # [B, R, 4]
    width, height, scale, start = geometry.unbind(-1)
    x1, y1, x2, y2 = (boxes.double() * scale[..., None]).unbind(-1)
    lines_x, lines_y = _bin_edges(x1, x2, size), _bin_edges(y1, y2, size)  # [B, R, size + 1]
    columns, column_weights = _antiderivative(lines_x, width)  # [B, R, size + 1, 3]
    rows, row_weights = _antiderivative(lines_y, height)
    image = torch.arange(batch, device=boxes.device)[:, None] * table.shape[1]
    base = (image + start.long())[:, :, None, None, None, None]
    index = base + rows[:, :, :, None, :, None] * (width.long() + 4)[:, :, None, None, None, None]
    index = index + columns[:, :, None, :, None, :]
    weights = row_weights[:, :, :, None, :, None] * column_weights[:, :, None, :, None, :]
    corners = summed(table.flatten(0, 1), index.reshape(-1, 9), weights.reshape(-1, 9))
    corners = corners.view(batch, rois, size + 1, size + 1, -1)
    sums = corners.diff(dim=2).diff(dim=3)
    area = lines_y.diff(dim=-1)[:, :, :, None, None] * lines_x.diff(dim=-1)[:, :, None, :, None]
    means = torch.where(area > 0, sums / torch.where(area > 0, area, 1.0), 0.0)
    return means.permute(0, 1, 4, 2, 3).to(features[0].dtype)


def _summed_area(level: Tensor) -> Tensor:
    """Sums [B, H + 4, W + 4, C] of all cells up to row i - 2 and column j - 2 of [B, C, H, W]."""
    sums = level.double().permute(0, 2, 3, 1).cumsum(1).cumsum(2)
    sums = torch.cat([sums, sums[:, -1:], sums[:, -1:]], dim=1)
    sums = torch.cat([sums, sums[:, :, -1:], sums[:, :, -1:]], dim=2)
    return F.pad(sums, (0, 0, 2, 0, 2, 0))


def _table_geometry(tables: list[Tensor], strides: list[int], device: torch.device) -> Tensor:
    """[L, 4] float64: width and height in cells, cells per pixel, first row among all tables."""
    rows, start = [], 0
    for table, stride in zip(tables, strides, strict=True):
        height, width = table.shape[1:3]
        rows.append([width - 4, height - 4, 1 / stride, start])
        start += height * width
    return torch.tensor(rows, dtype=torch.float64, device=device)


def _bin_edges(low: Tensor, high: Tensor, size: int) -> Tensor:
    """The size + 1 lines [..., size + 1] between bins of ends [...]; all one if high is below."""
    share = torch.arange(size + 1, dtype=low.dtype, device=low.device) / size
    return low[..., None] + share * (high - low).clamp(min=0)[..., None]


def _antiderivative(position: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """The integral up to a position as a sum over three entries of a table of sums.

    Between cells k and k + 1, u beyond k, it is `P(k - 1) + h a(k) + u^2 / 2 a(k + 1)` with values
    a, sums P and `h = 1 / 2 + u - u^2 / 2`.

    Args:
        position: [B, R, S] in cells; cell k has its value at k.
        length: [B, R] cells of the level along this axis.

    Returns:
        Entries [B, R, S, 3] int64 of a table whose entry i is P(i - 2), and weights alike.
    """
    position = position.clamp(min=-1).minimum(length[..., None])  # nothing lies beyond
    cell = position.detach().floor()
    u = position - cell
    here, next_ = 0.5 + u - u.square() / 2, u.square() / 2
    weights = torch.stack([1 - here, here - next_, next_], dim=-1)
    entries = cell.long()[..., None] + torch.arange(1, 4, device=position.device)
    return entries, weights
