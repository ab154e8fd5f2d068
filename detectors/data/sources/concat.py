"""Joins several data sets into one."""

from collections.abc import Callable, Mapping

import numpy as np

from detectors.data.sources.base import Source, path_of, reduced_image
from detectors.structures import Annotations

COLUMNS = ("sizes", "boxes", "labels", "crowd", "difficult", "areas")


class Concat:
    """The images of several sources, one source after the other, with new ids 0, 1, ...

    Args:
        read: named readers, in their order.

    Raises:
        ValueError: the classes of the sources differ, or there is no source.
    """

    def __init__(self, read: Mapping[str, Callable[[], Source]]) -> None:
        self.sources = {name: reader() for name, reader in read.items()}
        if not self.sources:
            raise ValueError("concat: `read` names no data set")
        self.annotations = _joined({k: source.annotations for k, source in self.sources.items()})
        self._starts = np.cumsum([0, *(len(source) for source in self.sources.values())])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def image(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB, that of its source."""
        source, row = self._place(index)
        return source.image(row)

    def reduced(self, index: int, least: tuple[int, int]) -> np.ndarray:
        """As `reduced_image`."""
        return reduced_image(*self._place(index), least)

    def path(self, index: int) -> str | None:
        return path_of(*self._place(index))

    def _place(self, index: int) -> tuple[Source, int]:
        """The source of an image, and its index there."""
        which = int(np.searchsorted(self._starts, index, side="right")) - 1
        return list(self.sources.values())[which], index - int(self._starts[which])


def _joined(parts: Mapping[str, Annotations]) -> Annotations:
    (first, expected), *rest = parts.items()
    for name, part in rest:
        if (part.classes, part.category_ids) != (expected.classes, expected.category_ids):
            raise ValueError(
                f"concat: {name} has the classes {part.classes}, {first} has {expected.classes}; "
                "give both the same `classes`"
            )
    columns = {key: np.concatenate([getattr(p, key) for p in parts.values()]) for key in COLUMNS}
    counts = np.concatenate([np.diff(part.offsets) for part in parts.values()])
    return Annotations(
        image_ids=np.arange(len(counts)),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        classes=expected.classes,
        category_ids=expected.category_ids,
        **columns,
    )
