"""A large linear layer as two thin ones."""

import logging
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

_log = logging.getLogger(__name__)
_made: WeakKeyDictionary[nn.Linear, tuple[tuple[int, ...], nn.Sequential]] = WeakKeyDictionary()


def truncated(layer: nn.Linear, rank: int) -> nn.Sequential:
    """`W x + b` as `U (V x) + b`, U V being W's truncated singular value decomposition.

    Girshick 2015, "Fast R-CNN", sec. 3.1. No other matrix of this rank is nearer to W. It is found
    once for a layer, as long as its weights stay what they are; on the device "meta" it is not.

    Raises:
        ValueError: the rank is not below that of W.
    """
    rows, columns = layer.weight.shape
    if rank >= min(rows, columns):
        raise ValueError(
            f"a rank of {rank} leaves a layer of {columns} to {rows} numbers as it is: take fewer "
            f"than {min(rows, columns)}"
        )
    state = (rank, layer.weight.data_ptr(), layer.weight._version)
    kept, found = _made.get(layer, ((), nn.Sequential()))
    if kept != state:
        found = _thin(layer, rank)
        _made[layer] = state, found
    return found


@torch.no_grad()
def _thin(layer: nn.Linear, rank: int) -> nn.Sequential:
    (rows, columns), weight = layer.weight.shape, layer.weight
    inner = nn.Linear(columns, rank, bias=False, device=weight.device, dtype=weight.dtype)
    outer = nn.Linear(
        rank, rows, bias=layer.bias is not None, device=weight.device, dtype=weight.dtype
    )
    if not weight.is_meta:
        for part, value in zip((inner, outer), _factors(weight.double(), rank), strict=True):
            part.weight.copy_(value)
        if layer.bias is not None:
            outer.bias.copy_(layer.bias)
        lost = (weight - outer.weight @ inner.weight).norm() / weight.norm()
        told = "%d x %d in rank %d: %.1f %% of the multiply-adds, an error of %.1f %%"
        share = rank * (rows + columns) / (rows * columns)
        _log.info(told, rows, columns, rank, 100 * share, 100 * float(lost))
    return nn.Sequential(inner, outer).eval()


def _factors(weight: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """V [rank, columns] and U [rows, rank], by the eigenvectors of the smaller product."""
    wide = weight.shape[0] <= weight.shape[1]
    product = weight @ weight.T if wide else weight.T @ weight
    vectors = torch.linalg.eigh(product).eigenvectors[:, -rank:]
    return (vectors.T @ weight, vectors) if wide else (vectors.T, weight @ vectors)
