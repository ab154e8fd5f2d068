"""Brings the labels of a source into the order in which a model knows its classes."""

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np

from detectors.data.sources.annotations import examples
from detectors.data.sources.base import Source, View

_log = logging.getLogger(__name__)


class Relabelled(View):
    """The images of a source, every class under the label that a model has for its name.

    Args:
        source: of the same classes in any order.
        order: names of the model's labels.
        where: names the source in messages.

    Raises:
        ValueError: the classes are others.
    """

    def __init__(self, source: Source, order: Sequence[str], where: str) -> None:
        truth = source.annotations
        check_same(order, truth.classes, where)
        rows = [truth.classes.index(name) for name in order]
        _log.warning(
            "%s: its classes are mapped to the model's by name: they come as %s, the model knows "
            "them as %s",
            *(where, list(truth.classes), list(order)),
        )
        mapped = truth._replace(
            labels=np.argsort(rows)[truth.labels],
            classes=tuple(order),
            category_ids=tuple(truth.category_ids[row] for row in rows),
        )
        super().__init__(source, mapped)


def check_same(known: Sequence[str], found: Sequence[str], where: str) -> None:
    """Refuse names that are not those of a model, in whatever order.

    Raises:
        ValueError: says which are not known, and which are missing.
    """
    missing = list((Counter(known) - Counter(found)).elements())
    unknown = list((Counter(found) - Counter(known)).elements())
    if missing or unknown:
        told = [f"the model does not know {examples(unknown)}"] if unknown else []
        told += [f"{examples(missing)} of the model is not there"] if missing else []
        raise ValueError(
            f"{where} has other classes than the checkpoint's model: {', and '.join(told)}"
        )
