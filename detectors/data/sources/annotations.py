"""Packs ground truth into arrays, and decides what becomes of mistakes in files.

What can be used is used: a box that reaches over the edge of its image is clipped. What is dropped
is counted and logged once per reading, with examples. What makes the data meaningless raises
ValueError at once, naming file, line or id, and the remedy; an examination keeps it and reads on.
"""

import logging
import reprlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, NamedTuple

import numpy as np

from detectors.data.sources.values import texts
from detectors.structures import Annotations

logger = logging.getLogger(__name__)

SHOWN = 3  # examples in a message
FRACTIONS = 0.01  # share of boxes in the first pixel from which the file is taken to mean fractions


def examples(names: Sequence[object]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(str(name) for name in names[:SHOWN]) + more


class Note(NamedTuple):
    """Something that a reader met several times."""

    what: str
    names: tuple[str, ...]  # places in the files
    images: tuple[int, ...]  # ids of the images, where it is known which


class Findings:
    """What a reader found, used, dropped and mended, to be told in one line."""

    _heard: ClassVar[list["Findings"] | None] = None  # those that are logged, while one listens

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.notes: list[Note] = []
        self.refused: dict[str, list[str]] = {}  # by what it is; empty in a training
        self.lost: Counter[str] = Counter()

    @classmethod
    @contextmanager
    def heard(cls) -> Iterator[list["Findings"]]:
        """Collects what readers find in here, and what they refuse without ending."""
        before, cls._heard = cls._heard, []
        try:
            yield cls._heard
        finally:
            cls._heard = before

    @classmethod
    def listening(cls) -> bool:
        """Whether someone collects what readers find."""
        return cls._heard is not None

    @classmethod
    def or_nothing(cls, read: Callable[[], list[str]]) -> list[str]:
        """What is read; where someone listens, nothing of what is refused: the reading tells it."""
        try:
            return read()
        except ValueError:
            if cls.listening():
                return []
            raise

    def refuse(
        self,
        message: str,
        names: Sequence[object] = (),
        what: str = "",
        kind: str = "",
    ) -> None:
        """Ends the reading with a message; where someone listens, the names are kept instead.

        Args:
            names: of all that is refused; nothing: the message.
            what: tells of all of them.
            kind: of what is lost, such as "objects"; nothing: none is lost by it.

        Raises:
            ValueError: the message, where nobody listens.
        """
        if self._heard is None:
            raise ValueError(message)
        self.tell()
        if kind:
            self.lost[kind] += len(names or [message])
        self.refused.setdefault(what or "refused by a training", []).extend(
            map(str, names or [message])
        )

    @contextmanager
    def sparing(self, kind: str) -> Iterator[None]:
        """Refuses what is refused in here, so that one who listens hears of all that follows.

        Args:
            kind: of the one thing that is then lost, such as "objects".
        """
        try:
            yield
        except (ValueError, OSError) as error:
            if self._heard is None:
                raise
            self.refuse(str(error), kind=kind)

    def tell(self) -> None:
        """Shows these findings to one who listens."""
        if self._heard is not None and self not in self._heard:
            self._heard.append(self)

    @property
    def lines(self) -> list[str]:
        told = [*self.refused.items(), *((note.what, note.names) for note in self.notes)]
        return [f"{len(names)} {what}: {examples(names)}" for what, names in told]

    def add(self, what: str, names: Sequence[object], images: Sequence[int] = ()) -> None:
        """Notes that `what` happened to `names`; nothing where there are none."""
        if len(names):
            self.notes.append(Note(what, tuple(map(str, names)), tuple(images)))

    def drop(
        self, kind: str, what: str, names: Sequence[object], images: Sequence[int] = ()
    ) -> None:
        """Notes that `names` were left out, so many of a kind, such as "images"."""
        self.add(f"{what} dropped", names, images)
        self.lost[kind] += len(names)

    def told(self) -> str:
        """What was noted, as the end of a message; nothing where nothing was."""
        return f" ({'; '.join(self.lines)})" if self.lines else ""

    def log(self, **used: int) -> None:
        """Tells how many of each kind are used of how many found, and all that was noted."""
        self.tell()
        counts = [f"{n} of {n + self.lost[kind]} {kind} used" for kind, n in used.items()]
        level = logging.WARNING if self.lines else logging.INFO
        told = [*filter(None, [", ".join(counts)]), *self.lines]
        logger.log(level, "%s: %s", self.origin, "; ".join(told))


def unrepeated(items: Sequence[Any], kind: str, what: str, findings: Findings) -> list[Any]:
    """The items without repeats, in their order; notes the repeats as `what` and dropped."""
    seen: set[Any] = set()
    first = [not (item in seen or seen.add(item)) for item in items]  # type: ignore[func-returns-value]
    repeats = [item for item, new in zip(items, first, strict=True) if not new]
    findings.drop(kind, what, repeats)
    return [item for item, new in zip(items, first, strict=True) if new]


def class_names(names: Any, origin: str, ids: Sequence[int] | None = None) -> tuple[str, ...]:
    """The names of classes, each a text of its own.

    Args:
        ids: of the classes, for messages; None: 0, 1, ...

    Raises:
        ValueError: it is no list, a name is neither text nor number, or two classes share one.
    """
    if isinstance(names, (str, Mapping)) or not isinstance(names, Sequence):
        raise ValueError(
            f"{origin}: the class names are {reprlib.repr(names)}, expected a list: [cat, dog]"
        )
    if not names:
        raise ValueError(f"{origin}: there is no class; name those of the objects")
    numbers = range(len(names)) if ids is None else ids
    written = texts(names, lambda k: f"{origin}: the name of class {numbers[k]}")
    found = [name.strip() for name in written]
    for name, count in Counter(found).items():
        if count > 1:
            same = [number for number, other in zip(numbers, found, strict=True) if other == name]
            raise ValueError(
                f"{origin}: {count} classes are called `{name}`: {examples(same)}; give each a "
                "name of its own, or make them one class"
            )
    return tuple(found)


class Objects(NamedTuple):
    """Objects as a file gives them, in any order; the boxes are not checked yet."""

    image: np.ndarray  # [n] int64, row of the image
    boxes: np.ndarray  # [n, 4] float64 xyxy pixels
    labels: np.ndarray  # [n] int64 in 0..C-1
    crowd: np.ndarray  # [n] bool
    difficult: np.ndarray  # [n] bool
    areas: np.ndarray  # [n] float64; NaN: that of the box

    @classmethod
    def ordinary(cls, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray) -> "Objects":
        """Those of a format that knows neither crowds nor difficult ones, nor areas."""
        count = len(labels)
        no = np.zeros(count, bool)
        return cls(image, boxes, labels, no, no, np.full(count, np.nan))


def packed(
    image_ids: np.ndarray,
    sizes: np.ndarray,
    objects: Objects,
    classes: Sequence[str],
    category_ids: Sequence[int],
    where: Callable[[int], str],
    findings: Findings,
) -> Annotations:
    """Annotations sorted by image, every box with an area and inside its image.

    Args:
        image_ids: [I], unique.
        sizes: [I, 2] (height, width) in pixels.
        where: names the place in the files that row k of `objects` came from.
        findings: receives what was clipped and dropped, and is logged.

    Raises:
        ValueError: no image, no object with an area, an image without size, a box that is not
            finite, or two classes of one name.
    """
    names_of_classes = class_names(classes, findings.origin, category_ids)
    _check(image_ids, sizes, objects, where, findings)
    boxes = _clipped(objects.boxes, sizes[objects.image])
    outside = np.abs(boxes - objects.boxes).max(axis=1) > 0.5  # less is rounding
    real = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    owners = image_ids[objects.image]
    clipped = np.flatnonzero(outside & real)
    told = [where(k) for k in clipped.tolist()]
    findings.add("boxes clipped to their image", told, owners[clipped].tolist())
    lost = [where(k) for k in np.flatnonzero(~real).tolist()]
    findings.drop("objects", "boxes without area in their image", lost, owners[~real].tolist())
    if len(lost) == len(boxes):
        raise ValueError(
            f"{findings.origin}: none of the {len(lost)} boxes has an area inside its image: "
            f"{examples(lost)}; correct the order and the unit of their numbers"
        )
    repeats = _repeats(objects)
    findings.add(
        "objects with the class and box of another in their image, kept",
        [where(k) for k in repeats],
        owners[repeats].tolist(),
    )
    findings.log(images=len(image_ids), objects=len(boxes) - len(lost))
    rows = np.flatnonzero(real)
    rows = rows[np.argsort(objects.image[rows], kind="stable")]
    boxes = boxes[rows]
    areas = objects.areas[rows]
    counts = np.bincount(objects.image[rows], minlength=len(image_ids))
    return Annotations(
        image_ids=image_ids.astype(np.int64),
        sizes=sizes.astype(np.int64),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes,
        labels=objects.labels[rows],
        crowd=objects.crowd[rows],
        difficult=objects.difficult[rows],
        areas=np.where(np.isnan(areas), np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), areas),
        classes=names_of_classes,
        category_ids=tuple(category_ids),
    )


def chosen(annotations: Annotations, rows: np.ndarray) -> Annotations:
    """Those of some images, which keep their ids.

    Args:
        rows: [n] of the images, rising.
    """
    counts = np.diff(annotations.offsets)[rows]
    kept = np.isin(annotations.owners(), rows)
    return annotations._replace(
        image_ids=annotations.image_ids[rows],
        sizes=annotations.sizes[rows],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=annotations.boxes[kept],
        labels=annotations.labels[kept],
        crowd=annotations.crowd[kept],
        difficult=annotations.difficult[kept],
        areas=annotations.areas[kept],
    )


def _check(
    image_ids: np.ndarray,
    sizes: np.ndarray,
    objects: Objects,
    where: Callable[[int], str],
    findings: Findings,
) -> None:
    origin = findings.origin
    if not len(image_ids):
        raise ValueError(
            f"{origin}: the split is empty, it names no image; is it the right one?"
            f"{findings.told()}"
        )
    if len(sized := np.flatnonzero((sizes <= 0).any(axis=1))):
        names = [int(image_ids[k]) for k in sized]
        raise ValueError(
            f"{origin}: {len(names)} images of height or width 0, ids {examples(names)}; "
            "write their true size in pixels"
        )
    if not len(objects.boxes):
        raise ValueError(
            f"{origin}: none of the {len(image_ids)} images has an object; are the annotations "
            f"those of these images?{findings.told()}"
        )
    if len(wrong := np.flatnonzero(~np.isfinite(objects.boxes).all(axis=1))):
        raise ValueError(
            f"{origin}: {len(wrong)} boxes with a coordinate that is no finite number, at "
            f"{examples([where(k) for k in wrong.tolist()])}; correct or delete them"
        )


def _repeats(objects: Objects) -> list[int]:
    """Rows of objects that an earlier row equals in image, label and box."""
    rows = np.column_stack([objects.image, objects.labels, objects.boxes]) + 0.0  # no -0
    as_bytes = np.ascontiguousarray(rows).view(np.dtype((np.void, rows.itemsize * 6)))
    _, first = np.unique(as_bytes.reshape(-1), return_index=True)
    return np.setdiff1d(np.arange(len(rows)), first).tolist()


def check_pixels(boxes: np.ndarray, where: Callable[[int], str], findings: Findings) -> None:
    """Refuses boxes that are parts of their image where pixels are expected.

    Such a box lies within the first pixel and is not the whole of it. A few may be real, and are
    noted.

    Args:
        boxes: [n, 4] xyxy as the file gives them.

    Raises:
        ValueError: more than `FRACTIONS` of the boxes are so.
    """
    small = (np.abs(boxes) <= 1).all(axis=1) & (boxes != np.rint(boxes)).any(axis=1)
    names = [where(k) for k in np.flatnonzero(small).tolist()]
    if len(names) > FRACTIONS * len(boxes):
        raise ValueError(
            f"{findings.origin}: {len(names)} of {len(boxes)} boxes lie within the first pixel: "
            f"{examples(names)}; they look like parts of the image: multiply them by its width "
            "and height, expected are pixels"
        )
    findings.add("boxes within the first pixel kept", names)


def _clipped(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    limits = sizes[:, [1, 0, 1, 0]]  # width, height, width, height
    return np.clip(boxes, 0.0, limits)
