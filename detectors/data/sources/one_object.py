"""Data with one object a picture: refuses others, or takes the largest of each."""

import logging

import numpy as np

from detectors.data.sources.annotations import examples
from detectors.data.sources.base import Source, View, path_of
from detectors.structures import Annotations

_log = logging.getLogger(__name__)


class LargestObject(View):
    """The images of a source, where the largest object of each counts and the others are ignored.

    The others are marked difficult: neither learnt nor, where they are found, wrong. Size is the
    area of the box; of several as large the first counts.

    Args:
        source: of any pictures.
        where: names the source in messages.
    """

    def __init__(self, source: Source, where: str) -> None:
        truth = source.annotations
        others = _counted(truth) & ~_largest(truth)
        pictures = np.unique(truth.owners()[others]).size
        _log.info(
            "%s: data.objects=largest ignores %d of %d objects, in %d of %d pictures",
            *(where, others.sum(), len(others), pictures, len(truth.image_ids)),
        )
        super().__init__(source, truth._replace(difficult=truth.difficult | others))


def check_one_object(source: Source, where: str) -> None:
    """Refuse pictures with several objects, crowds and difficult ones aside.

    Raises:
        ValueError: names some of the pictures.
    """
    truth = source.annotations
    counts = np.bincount(truth.owners()[_counted(truth)], minlength=len(truth.image_ids))
    several = np.flatnonzero(counts > 1)
    if len(several):
        names = [
            f"{path_of(source, row) or f'picture {truth.image_ids[row]}'} ({counts[row]} objects)"
            for row in several.tolist()
        ]
        raise ValueError(
            f"{where}: {len(several)} of {len(counts)} pictures have more than one object: "
            f"{examples(names)}; data.objects=one expects one, as model=localizer does: set "
            "data.objects=largest to ignore the others, or choose another model for all of them, "
            "such as model=sliding_window"
        )


def _counted(truth: Annotations) -> np.ndarray:
    return ~(truth.crowd | truth.difficult)


def _largest(truth: Annotations) -> np.ndarray:
    """[n] bool, the object of each picture that counts and has the greatest box, the first one."""
    sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
    rank = np.where(_counted(truth), -sides.prod(axis=1), np.inf)
    owners = truth.owners()
    order = np.lexsort((np.arange(len(rank)), rank, owners))
    _, first = np.unique(owners[order], return_index=True)
    found = np.zeros(len(rank), bool)
    found[order[first]] = True
    return found & _counted(truth)
