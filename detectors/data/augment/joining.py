"""Joins the objects of several augmented samples of the same size, for every mix.

Of more than `most` objects every mix keeps those of largest area. `Sample.dropped` and
`Batch.dropped` count the others; the training loader logs their number after each epoch.
"""

from collections.abc import Sequence

import numpy as np

from detectors.data.augment.transforms import chosen
from detectors.structures import Sample


def joined(first: Sample, image: np.ndarray, parts: Sequence[Sample], frame: np.ndarray) -> Sample:
    """The objects of all parts on a new image, under the id of the first.

    It has no linear way back: `to_original` is NaN.
    """
    return first._replace(
        image=image,
        boxes=np.concatenate([part.boxes for part in parts]),
        labels=np.concatenate([part.labels for part in parts]),
        ignore=np.concatenate([part.ignore for part in parts]),
        to_original=np.full(4, np.nan, np.float32),
        frame=frame,
        dropped=sum(part.dropped for part in parts),
    )


def largest(sample: Sample, most: int) -> Sample:
    """The sample with its `most` largest objects, in their order; the others are counted."""
    excess = len(sample.labels) - most
    if excess <= 0:
        return sample
    areas = np.prod(sample.boxes[:, 2:] - sample.boxes[:, :2], axis=1)
    kept = np.sort(np.argsort(-areas, kind="stable")[:most])
    return chosen(sample, kept)._replace(dropped=sample.dropped + excess)


def hull(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[4] the smallest box round two boxes [4]."""
    return np.concatenate([np.minimum(a[:2], b[:2]), np.maximum(a[2:], b[2:])])
