"""Settles which object a prior gets where several may have it."""

import torch
from torch import Tensor

from detectors.structures import Pairs, Targets


def assignable(targets: Targets) -> Tensor:
    """Objects that may be assigned, [B, M] bool: real and not to be ignored."""
    return targets.valid & ~targets.ignore


def highest(assigned: Tensor, priority: Tensor) -> tuple[Tensor, Tensor]:
    """The object of highest priority for each prior, the first one on a tie.

    Args:
        assigned: [B, M, N] bool.
        priority: broadcasts to [B, M, N], finite.

    Returns:
        matched [B, N] int64 and positive [B, N] bool; matched is 0 where not positive.
    """
    ranked = torch.where(assigned, priority, -torch.inf)
    best, matched = ranked.max(dim=1)
    positive = best > -torch.inf
    return matched * positive, positive


def first(assigned: Tensor) -> tuple[Tensor, Tensor]:
    """The first object in the list for each prior; takes and returns what `highest` does."""
    return highest(assigned, torch.zeros((), device=assigned.device))


def last(assigned: Tensor) -> tuple[Tensor, Tensor]:
    """The last object in the list for each prior, as if each overwrote those before it.

    Takes and returns what `highest` does.
    """
    order = torch.arange(1, assigned.shape[1] + 1, device=assigned.device)[:, None]
    latest = (assigned * order).amax(dim=1)
    return (latest - 1).clamp(min=0), latest > 0


def multi_hot(assigned: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Class targets [B, N, C]: one for the class of every object assigned to a prior.

    Args:
        assigned: [B, M, N] bool, or float in [0, 1] of which each class keeps the largest.
        labels: [B, M].
    """
    batch, _, priors = assigned.shape
    empty = torch.zeros(batch, num_classes, priors, device=assigned.device)
    index = labels[:, :, None].expand(assigned.shape)
    return empty.scatter_reduce(1, index, assigned.float(), "amax").transpose(1, 2)


def pairs_of(positive: Tensor, pairs: Pairs | None) -> Pairs | None:
    """The pairs, those without weight whose prior is not among the positives [B, N] any more."""
    if pairs is None:
        return None
    return pairs._replace(weight=pairs.weight * positive.gather(1, pairs.prior))
