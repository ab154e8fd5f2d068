"""The data set of generated scenes."""

import numpy as np

from detectors.data.ranges import check, whole
from detectors.data.sources.scenes import shapes
from detectors.data.sources.scenes.layout import Arrangement, Layout
from detectors.data.sources.scenes.look import Look
from detectors.random_streams import stream
from detectors.structures import Annotations

_SPLITS = {"train": 0, "val": 1, "test": 2}
_CHUNK = 1024  # scenes arranged at once, bounds the memory


class Scenes:
    """Scenes of coloured, textured shapes, each a pure function of (seed, split, index).

    The splits of one seed never share a scene, whatever their counts, and a longer data set begins
    with the scenes of a shorter one.

    Args:
        layout: what stands where.
        look: colours and camera.
        count: number of scenes.
        seed: any integer that is not negative.
        split: "train", "val" or "test".

    Raises:
        ValueError: the split is unknown, or count or seed out of range.
    """

    def __init__(
        self, layout: Layout, look: Look, count: int, seed: int = 0, split: str = "train"
    ) -> None:
        if split not in _SPLITS:
            raise ValueError(f"scenes: split must be one of {sorted(_SPLITS)}, got {split!r}")
        check("scenes", whole("count", count, 1), whole("seed", seed, 0))
        self._layout, self._look = layout, look
        self._entropy = (seed, _SPLITS[split])
        self._objects = _joined(
            [
                self._arranged(range(first, min(first + _CHUNK, count)))
                for first in range(0, count, _CHUNK)
            ]
        )
        self.annotations = _annotations(self._objects, layout)

    def __len__(self) -> int:
        return len(self.annotations.image_ids)

    def image(self, index: int) -> np.ndarray:
        """[side, side, 3] uint8 RGB."""
        objects, layout = self._objects, self._layout
        labels = objects.labels[objects.offsets[index] : objects.offsets[index + 1]]
        rng = stream(*self._entropy, index, name="pixels of a scene")
        return self._look.paint(
            objects.outlines(index), labels, layout.num_classes, layout.side, rng
        )

    def _arranged(self, indices: range) -> Arrangement:
        columns = self._layout.columns
        streams = [stream(*self._entropy, index, name="layout of a scene") for index in indices]
        rows = [rng.random(columns) for rng in streams]
        return self._layout.arrange(np.stack(rows))


def _joined(parts: list[Arrangement]) -> Arrangement:
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    columns = zip(*(part[1:] for part in parts), strict=True)
    return Arrangement(offsets, *(np.concatenate(column) for column in columns))


def _annotations(objects: Arrangement, layout: Layout) -> Annotations:
    """Areas are those of the boxes, as a detector's are."""
    scenes, n = len(objects.offsets) - 1, len(objects.labels)
    widths = objects.boxes[:, 2:] - objects.boxes[:, :2]
    return Annotations(
        image_ids=np.arange(scenes),
        sizes=np.full((scenes, 2), layout.side),
        offsets=objects.offsets,
        boxes=objects.boxes,
        labels=objects.labels,
        crowd=np.zeros(n, dtype=bool),
        difficult=np.zeros(n, dtype=bool),
        areas=widths.prod(axis=1),
        classes=shapes.NAMES[: layout.num_classes],
        category_ids=tuple(range(1, layout.num_classes + 1)),
    )
