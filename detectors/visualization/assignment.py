"""Lists and counts the priors assigned to each object of a picture, level by level."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from torch import Tensor

from detectors.structures import Assignment, Priors, Targets


class Level(NamedTuple):
    """The n priors of one level, as one picture trains them."""

    stride: int
    boxes: np.ndarray  # [n, 4] pixels of the network input
    prior: np.ndarray  # [p] row of `boxes` in each pair of a prior and an object
    owner: np.ndarray  # [p] row of the object in `Targets`
    ignored: np.ndarray  # [n] bool
    heat: np.ndarray  # [n] largest class target of a prior that is not positive, in [0, 1]


class Count(NamedTuple):
    """How many priors of several pictures were assigned, on one level or on all."""

    priors: int
    ignored: int
    per_object: np.ndarray  # [objects] pairs of each


def levels(priors: Priors, assignment: Assignment, image: int) -> list[Level]:
    """The levels of one picture of a batch, finest first.

    Args:
        priors: of a grid.
        assignment: of the batch.
        image: which picture.
    """
    prior, owner = pairs(assignment, image)
    boxes, strides = _array(priors.boxes[0]), _array(priors.stride)
    ignored, heat = _array(assignment.ignored[image]), soft_targets(assignment, image)
    ends = np.cumsum(priors.level_sizes)
    found = []
    for start, end in zip(ends - priors.level_sizes, ends, strict=True):
        own = (prior >= start) & (prior < end)
        found.append(
            Level(
                int(strides[start]),
                boxes[start:end],
                prior[own] - start,
                owner[own],
                ignored[start:end],
                heat[start:end],
            )
        )
    return found


def pairs(assignment: Assignment, image: int) -> tuple[np.ndarray, np.ndarray]:
    """Priors [p], and for each the row of an object whose box it trains on [p]."""
    if assignment.pairs is None:
        prior = np.flatnonzero(_array(assignment.positive[image]))
        return prior, _array(assignment.matched[image])[prior]
    real = _array(assignment.pairs.weight[image]) > 0
    return _array(assignment.pairs.prior[image])[real], _array(assignment.pairs.matched[image])[
        real
    ]


def soft_targets(assignment: Assignment, image: int) -> np.ndarray:
    """Largest class target [N] of each prior that is not positive; zeros where targets are hard."""
    positive = _array(assignment.positive[image])
    if assignment.scores is None:
        return np.zeros(len(positive), np.float32)
    return np.where(positive, 0.0, _array(assignment.scores[image].amax(-1)))


def counts(pictures: Sequence[Sequence[Level]], targets: Targets) -> list[Count]:
    """Counts for each level, then for all levels together.

    Args:
        pictures: levels of each.
        targets: their objects; those to be ignored are not counted.
    """
    objects = _array(targets.valid & ~targets.ignore)
    each = [_count(list(level), objects) for level in zip(*pictures, strict=True)]
    whole = Count(
        sum(count.priors for count in each),
        sum(count.ignored for count in each),
        np.sum([count.per_object for count in each], axis=0),
    )
    return [*each, whole]


def _count(level: Sequence[Level], objects: np.ndarray) -> Count:
    """The count for one level over all pictures; objects [B, M] bool."""
    rows = objects.shape[1]
    per_row = np.stack([np.bincount(one.owner, minlength=rows) for one in level])
    return Count(
        sum(len(one.boxes) for one in level),
        sum(int(one.ignored.sum()) for one in level),
        per_row[objects],
    )


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()
