"""Puts samples together into a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from detectors.structures import Batch, Sample, Targets


def collated(samples: Sequence[Sample], smallest: int = 8) -> Batch:
    """A batch whose targets are padded to the smallest sufficient bucket.

    Images are [B, 3, H, W] in channels-last memory, the layout in which they are decoded.

    Args:
        samples: images of one size.
        smallest: rows of the smallest bucket; each further one is twice as large, so that few
            shapes occur.
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
    )


def rows_of(parts: Sequence[Sequence[int]]) -> torch.Tensor:
    """[n] int64, the numbers of all parts."""
    return torch.tensor([row for part in parts for row in part], dtype=torch.int64)


class Parcel:
    """A batch on its way out of a worker; what arrives is the batch.

    torch sends every tensor as a file of shared memory, and opening the nine of a batch takes as
    long as augmenting a picture. The images go that way, all else is copied.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __reduce__(self) -> tuple[Any, ...]:
        images, targets, *others = self.batch
        parts = [part.numpy() for part in (*targets, *others) if part is not None]
        return _arrived, (images, parts)


def _arrived(images: torch.Tensor, parts: Sequence[np.ndarray]) -> Batch:
    tensors = [torch.from_numpy(part) for part in parts]
    count = len(Targets._fields)
    return Batch(images, Targets(*tensors[:count]), *tensors[count:])


def parcel(samples: Sequence[Sample], smallest: int = 8) -> Parcel:
    """The samples collated, for a worker to hand over."""
    return Parcel(collated(samples, smallest))


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
