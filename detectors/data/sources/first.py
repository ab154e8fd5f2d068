"""Takes the first few pictures of a source."""

import numpy as np

from detectors.data.sources.base import Source, path_of, reduced_image
from detectors.structures import Annotations


class First:
    """The first pictures of a source that have an object which is neither crowd nor difficult.

    Args:
        source: of any pictures; at least one must have such an object.
        count: pictures that are taken, or all there are if these are fewer.
    """

    def __init__(self, source: Source, count: int) -> None:
        truth, owners = source.annotations, source.annotations.owners()
        counted = owners[~(truth.crowd | truth.difficult)]
        self.source, self.rows = source, np.unique(counted)[:count]
        objects = np.isin(owners, self.rows)
        sizes = np.diff(truth.offsets)[self.rows]
        chosen = ("boxes", "labels", "crowd", "difficult", "areas")
        self.annotations: Annotations = truth._replace(
            image_ids=truth.image_ids[self.rows],
            sizes=truth.sizes[self.rows],
            offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            **{name: getattr(truth, name)[objects] for name in chosen},
        )

    def __len__(self) -> int:
        return len(self.rows)

    def image(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB, that of the source."""
        return self.source.image(int(self.rows[index]))

    def reduced(self, index: int, least: tuple[int, int]) -> np.ndarray:
        """As `reduced_image`."""
        return reduced_image(self.source, int(self.rows[index]), least)

    def path(self, index: int) -> str | None:
        return path_of(self.source, int(self.rows[index]))
