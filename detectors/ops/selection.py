"""Selects rows without a shape that depends on data."""

import torch
from torch import Tensor


def gather_rows(values: Tensor, index: Tensor) -> Tensor:
    """Rows of `values` [B, N, ...] at `index` [B, K], as [B, K, ...]. One batch row serves all."""
    values = values.expand(index.shape[0], *values.shape[1:])
    index = index.reshape(*index.shape, *[1] * (values.dim() - 2))
    return values.gather(1, index.expand(*index.shape[:2], *values.shape[2:]))


def random_subset(mask: Tensor, most: int, count: Tensor) -> Tensor:
    """At most `count` of the rows in `mask`, drawn without replacement, all equally likely.

    Args:
        mask: [B, N] bool, the rows to draw from.
        most: upper bound of `count`, which fixes every shape.
        count: [B] int, rows wanted of each image.

    Returns:
        [B, N] bool, true on min(count, mask.sum()) rows of `mask`.
    """
    keys = torch.rand(mask.shape, device=mask.device).masked_fill(~mask, -1.0)
    _, index = keys.topk(min(most, mask.shape[1]), dim=1)
    rank = torch.arange(index.shape[1], device=mask.device)
    chosen = (rank < count[:, None]) & mask.gather(1, index)
    return torch.zeros_like(mask).scatter(1, index, chosen)
