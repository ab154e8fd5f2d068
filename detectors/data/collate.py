"""Puts samples together into a batch."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from detectors.data.shared_memory import Shared
from detectors.structures import Batch, Proposals, Sample, Targets


def collated(samples: Sequence[Sample], smallest: int = 8, proposals: int = 0) -> Batch:
    """A batch whose targets are padded to the smallest sufficient bucket.

    Images are [B, 3, H, W] in channels-last memory, the layout in which they are decoded.

    Args:
        samples: images of one size.
        smallest: rows of the smallest bucket; each further one is twice as large, so that few
            shapes occur.
        proposals: rows to which proposals are padded, where the samples have them.
    """
    rows = bucket(max(len(sample.labels) for sample in samples), smallest)
    images = torch.from_numpy(np.stack([sample.image for sample in samples]))
    return Batch(
        images=images.permute(0, 3, 1, 2),
        targets=Targets(
            boxes=_padded([sample.boxes for sample in samples], rows),
            labels=_padded([sample.labels for sample in samples], rows),
            valid=_padded([np.ones(len(sample.labels), bool) for sample in samples], rows),
            ignore=_padded([sample.ignore for sample in samples], rows),
        ),
        frames=torch.from_numpy(np.stack([sample.frame for sample in samples])),
        to_original=torch.from_numpy(np.stack([sample.to_original for sample in samples])),
        ids=torch.tensor([sample.id for sample in samples]),
        dropped=torch.tensor([sample.dropped for sample in samples]),
        unreadable=rows_of([sample.unreadable for sample in samples]),
        proposals=_proposals([s.proposals for s in samples if s.proposals is not None], proposals),
    )


def _proposals(found: Sequence[np.ndarray], rows: int) -> Proposals | None:
    """Those of all samples, or None where they have none."""
    if not found:
        return None
    valid = _padded([np.ones(len(boxes), bool) for boxes in found], rows)
    return Proposals(_padded(found, rows), valid)


def rows_of(parts: Sequence[Sequence[int]]) -> torch.Tensor:
    """[n] int64, the numbers of all parts."""
    return torch.tensor([row for part in parts for row in part], dtype=torch.int64)


class Parcel:
    """A batch on its way out of a worker; what arrives is the batch.

    torch sends every tensor as a file of shared memory, and opening the nine of a batch takes as
    long as augmenting a picture. The images go that way (`Shared`), all else is copied.
    """

    def __init__(self, batch: Any) -> None:
        self.images = Shared(batch.images)
        self.others = _changed(batch._replace(images=None), torch.Tensor.numpy)

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (self.images, self.others)


def _arrived(images: Shared, others: Any) -> Any:
    return _changed(others, torch.from_numpy)._replace(images=images.tensor())


def _changed(part: Any, change: Callable[[Any], Any]) -> Any:
    """Named tuples with each of their values changed; None stays."""
    if isinstance(part, tuple):
        return type(part)(*(_changed(value, change) for value in part))
    return None if part is None else change(part)


def parcel(collate: Callable[[Any], Any], samples: Any) -> Parcel:
    """The samples collated, for a worker to hand over."""
    return Parcel(collate(samples))


def bucket(count: int, smallest: int) -> int:
    """`smallest` doubled until it holds `count`."""
    rows = smallest
    while rows < count:
        rows *= 2
    return rows


def _padded(arrays: Sequence[np.ndarray], rows: int) -> torch.Tensor:
    """[B, rows, ...] of arrays [n, ...], zeros below."""
    result = np.zeros((len(arrays), rows, *arrays[0].shape[1:]), arrays[0].dtype)
    for k, array in enumerate(arrays):
        result[k, : len(array)] = array
    return torch.from_numpy(result)
