"""The contract of a data set: its ground truth, and one picture at a time."""

from typing import Protocol

import numpy as np

from detectors.structures import Annotations


class Unreadable(ValueError):
    """A picture cannot be decoded, or is not the one that was annotated; the message names it.

    A training takes another picture in its place and counts it, an evaluation stops.
    """


class Source(Protocol):
    """Pictures with their ground truth, read once and cheap to hand to worker processes.

    An implementation is picklable and holds packed arrays only: a Python object per image or box
    would be copied into every worker page by page as its reference count is touched.
    """

    annotations: Annotations

    def __len__(self) -> int:
        """Number of images."""
        ...

    def image(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB, of the size that `annotations.sizes[index]` states.

        A pure function of the index.

        Raises:
            Unreadable: the picture cannot be used.
        """
        ...


def reduced_image(source: Source, index: int, least: tuple[int, int]) -> np.ndarray:
    """[H, W, 3] uint8 RGB, decoded at a part of its size where the source can do so.

    Args:
        least: (height, width) in pixels that the picture has at least, if it has them at all.
    """
    reduced = getattr(source, "reduced", None)
    return source.image(index) if reduced is None else reduced(index, least)


def path_of(source: Source, index: int) -> str | None:
    """The file of a picture; None where it has none, as generated pictures have."""
    path = getattr(source, "path", None)
    return None if path is None else path(index)


class View:
    """Pictures of a source, all or some of them, under annotations of their own.

    Args:
        source: of any pictures.
        annotations: of those that are seen.
        rows: their places in the source, [I]; all of them in their order if None.
    """

    def __init__(
        self, source: Source, annotations: Annotations, rows: np.ndarray | None = None
    ) -> None:
        self.source, self.annotations, self.rows = source, annotations, rows

    def __len__(self) -> int:
        return len(self.source) if self.rows is None else len(self.rows)

    def image(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB, that of the source."""
        return self.source.image(self._row(index))

    def reduced(self, index: int, least: tuple[int, int]) -> np.ndarray:
        """As `reduced_image`."""
        return reduced_image(self.source, self._row(index), least)

    def path(self, index: int) -> str | None:
        return path_of(self.source, self._row(index))

    def _row(self, index: int) -> int:
        return index if self.rows is None else int(self.rows[index])
