"""Looks through detection data: what is there, and what may be wrong with it."""

import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import cv2
import numpy as np

from detectors.data.anchor_clustering import picture_growth
from detectors.data.augment.transforms import Resize
from detectors.data.sources.annotations import Findings
from detectors.data.sources.base import Source, Unreadable, path_of
from detectors.data.unreadable import Tally
from detectors.ops.numpy_boxes import iou
from detectors.structures import Annotations

UNUSABLE, WARNING, NOTE = "unusable", "warning", "note"
HARMLESS = (
    *("images without a label file", "files of another kind", "hidden", "folders not looked"),
    *("pictures in the same folders", "category left out"),
)
GRID = (16, 17)  # cells of a picture's thumbnail: 16 x 16 signs of differences between neighbours
NEAR = 14  # of 256 signs in which two pictures of one scene may differ
CLOSE = 8.0  # grey levels by which their thumbnails may differ in the mean
FLAT = 6.0  # standard deviation of grey levels below which a thumbnail says nothing
BLOCK = 2048  # pictures that are compared at once
TINY = 4.0  # pixels of the network input; a shorter side has no cell of its own on any level
DOUBLED = 0.95  # IoU of two boxes round one object
AREAS = (32**2, 96**2)  # of COCO's small, medium and large objects
ASPECTS = (1 / 4, 1 / 2, 1 / 1.25, 1.25, 2, 4)  # width by height
SIZES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7)  # square root of a box's share of its picture


class Place(NamedTuple):
    """A picture of a finding, and the objects that it is about."""

    split: str
    row: int  # of the picture
    objects: tuple[int, ...] = ()  # rows among those of the picture
    beside: tuple[str, int] | None = None  # split and row of the picture that it is compared with


class Finding(NamedTuple):
    """What may be wrong, in one split or between two."""

    level: str  # unusable, warning or note
    what: str
    names: tuple[str, ...]  # files, lines, ids or classes that it was found at
    places: tuple[Place, ...] = ()


class Seen(NamedTuple):
    """What is kept of a picture."""

    content: bytes  # digest of its pixels; empty where it cannot be read
    thumbnail: np.ndarray  # GRID uint8
    reason: str  # why it cannot be read


class Examination(NamedTuple):
    """What is in the data, and what was found."""

    sources: dict[str, Source]  # by split, those that can be read
    splits: dict[str, dict[str, Any]]  # figures of each, as json has them
    findings: list[Finding]

    @property
    def level(self) -> str | None:
        """The worst of the findings."""
        levels = {finding.level for finding in self.findings}
        return next((level for level in (UNUSABLE, WARNING, NOTE) if level in levels), None)


def examined(
    readers: Mapping[str, Callable[[], Source]],
    resize: Resize,
    tracked: Callable[["_Pictures", str], Iterable[Seen]],
    max_unreadable: float,
) -> Examination:
    """Reads every split and every picture once.

    Args:
        readers: by the name of the split.
        resize: brings the pictures onto the canvas of the network.
        tracked: gives the items of a collection one by one, and shows how far it is.
        max_unreadable: share of the training pictures that a training does without.
    """
    findings: list[Finding] = []
    sources: dict[str, Source] = {}
    unread: dict[str, list[str]] = {}  # splits by what is wrong with them, such as their root
    for split, reader in readers.items():
        with Findings.heard() as heard:
            try:
                sources[split] = reader()
            except (ValueError, OSError) as error:
                unread.setdefault(str(error), []).append(split)
        findings += _refused(split, heard)
        findings += _of_reader(split, sources.get(split), heard)
    findings += [
        Finding(_level(splits[0]), f"{' and '.join(splits)} cannot be read", (reason,))
        for reason, splits in unread.items()
    ]
    seen = {
        split: list(tracked(_Pictures(source), f"pictures of {split}"))
        for split, source in sources.items()
    }
    for split, source in sources.items():
        findings += _of_pictures(split, source, seen[split], max_unreadable)
        findings += _of_objects(split, source, resize)
    findings += _of_classes({split: source.annotations for split, source in sources.items()})
    findings += _duplicates(sources, seen)
    figures = {split: _figures(source.annotations, resize) for split, source in sources.items()}
    return Examination(sources, figures, _once(findings))


def _once(findings: Sequence[Finding]) -> list[Finding]:
    """Without repeats, as of two splits that are read from one file; the worst first."""
    order = (UNUSABLE, WARNING, NOTE)
    first = {(f.level, f.what, f.names): f for f in reversed(findings)}
    kept = [f for f in findings if first[f.level, f.what, f.names] is f]
    return sorted(kept, key=lambda finding: order.index(finding.level))


def _level(split: str) -> str:
    """Of what a training refuses, which does without a test split."""
    return WARNING if split == "test" else UNUSABLE


def _refused(split: str, heard: Sequence[Findings]) -> Iterator[Finding]:
    """What ends a training at once, and was left out here to find the rest."""
    for findings in heard:
        for what, names in findings.refused.items():
            yield Finding(_level(split), what, tuple(names))


def _placed(names: Iterable[str], origin: str) -> tuple[str, ...]:
    """The names, those without a file after the file that they are of."""
    return tuple(name if os.sep in name else f"{origin}: {name}" for name in names)


def _of_reader(split: str, source: Source | None, heard: Sequence[Findings]) -> Iterator[Finding]:
    """What the reader dropped, mended and noted; of images where these are known, its own alone."""
    ids = [] if source is None else source.annotations.image_ids.tolist()
    rows = {key: row for row, key in enumerate(ids)}
    for origin, note in ((one.origin, note) for one in heard for note in one.notes):
        level = NOTE if note.what.startswith(HARMLESS) else WARNING
        names = _placed(note.names, origin)
        if not note.images:
            yield Finding(level, note.what, names)
            continue
        own = [pair for pair in zip(names, note.images, strict=True) if pair[1] in rows]
        if own:
            places = tuple(Place(split, rows[key]) for key in dict.fromkeys(key for _, key in own))
            yield Finding(level, f"{split}: {note.what}", tuple(name for name, _ in own), places)


class _Pictures(Collection[Seen]):
    """Those of a source, decoded by several threads in their order."""

    def __init__(self, source: Source) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def __iter__(self) -> Iterator[Seen]:
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            yield from threads.map(lambda row: _look(self.source, row), range(len(self)))

    def __contains__(self, _: object) -> bool:
        raise NotImplementedError


def _look(source: Source, row: int) -> Seen:
    try:
        image = source.image(row)
    except Unreadable as error:
        return Seen(b"", np.zeros(GRID, np.uint8), str(error))
    content = hashlib.sha256(np.ascontiguousarray(image).data).digest()[:16]
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, GRID[::-1], interpolation=cv2.INTER_AREA)
    return Seen(content, small.astype(np.uint8), "")


def _of_pictures(
    split: str, source: Source, seen: Sequence[Seen], max_unreadable: float
) -> Iterator[Finding]:
    broken = tuple(one.reason for one in seen if one.reason)
    if broken:
        some = split == "train" and len(broken) <= Tally(source, max_unreadable).most
        level = WARNING if some else _level(split)
        yield Finding(level, f"{split}: pictures that cannot be read", broken)
    empty = np.flatnonzero(np.diff(source.annotations.offsets) == 0).tolist()
    if empty:
        places = tuple(Place(split, row) for row in empty)
        yield Finding(NOTE, f"{split}: pictures without objects", _names(source, empty), places)


def _names(source: Source, rows: Iterable[int]) -> tuple[str, ...]:
    return tuple(path_of(source, row) or f"picture {row}" for row in rows)


def _of_objects(split: str, source: Source, resize: Resize) -> Iterator[Finding]:
    truth = source.annotations
    sides = _canvas_sides(truth, resize)
    kinds = {
        f"objects of less than {TINY:g} pixels on the canvas of {_canvas(resize)}": np.flatnonzero(
            sides.min(axis=1) < TINY
        ),
        f"boxes round one object, with an IoU over {DOUBLED}": _doubled(truth),
    }
    for what, rows in kinds.items():
        if len(rows):
            places = tuple(_grouped(split, truth, rows))
            pictures = _names(source, (place.row for place in places))
            names = tuple(
                f"{picture}: object {', '.join(str(row + 1) for row in place.objects)}"
                for picture, place in zip(pictures, places, strict=True)
            )
            yield Finding(WARNING, f"{split}: {len(rows)} {what}", names, places)


def _canvas(resize: Resize) -> str:
    height, width = resize.canvas
    return f"{width} x {height}"


def _canvas_sides(truth: Annotations, resize: Resize) -> np.ndarray:
    """[n, 2] width and height of every object on the canvas."""
    return (truth.boxes[:, 2:] - truth.boxes[:, :2]) * picture_growth(truth, resize)


def _doubled(truth: Annotations) -> np.ndarray:
    """Rows of objects that an earlier one of their picture all but covers; crowds are left out."""
    found: list[int] = []
    for row in np.flatnonzero(np.diff(truth.offsets) > 1).tolist():
        start, end = truth.offsets[row : row + 2].tolist()
        rows = np.arange(start, end)[~truth.crowd[start:end]]
        overlap = np.tril(iou(truth.boxes[rows][:, None], truth.boxes[rows]), -1)
        found += rows[(overlap > DOUBLED).any(axis=1)].tolist()
    return np.array(found, np.int64)


def _grouped(split: str, truth: Annotations, rows: np.ndarray) -> Iterator[Place]:
    """A place for each picture of these objects."""
    owners, starts = np.unique(truth.owners()[rows], return_index=True)
    for owner, own in zip(owners.tolist(), np.split(rows, starts[1:]), strict=True):
        yield Place(split, owner, tuple((own - truth.offsets[owner]).tolist()))


def _of_classes(truths: dict[str, Annotations]) -> Iterator[Finding]:
    names = next((truth.classes for truth in truths.values()), ())
    alike = Counter(name.strip().casefold() for name in names)
    same = tuple(name for name in names if alike[name.strip().casefold()] > 1)
    if same:
        yield Finding(WARNING, "classes whose names differ by case or blanks alone", same)
    there = {split: {*np.unique(t.labels).tolist()} for split, t in truths.items()}
    every = set().union(*there.values())
    absent = tuple(name for label, name in enumerate(names) if label not in every)
    if absent:
        yield Finding(WARNING, "classes without an object in any split", absent)
    for split, labels in there.items():
        lacking = tuple(names[label] for label in sorted(every - labels))
        if lacking:
            yield Finding(WARNING, f"{split}: classes that other splits have alone", lacking)


def _duplicates(sources: dict[str, Source], seen: dict[str, list[Seen]]) -> Iterator[Finding]:
    """Pictures that are there twice, in one split or, which spoils what is measured, in two."""
    places = [(split, row) for split, every in seen.items() for row in range(len(every))]
    pictures = [one for every in seen.values() for one in every]
    pairs = {True: _exact(pictures, places), False: _near(pictures, places)}
    for exact, found in pairs.items():
        kind = "the same picture" if exact else "nearly the same picture"
        by_splits: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for first, second in found:
            both = (places[first][0], places[second][0])
            by_splits.setdefault(both, []).append((places[first][1], places[second][1]))
        for (one, other), rows in by_splits.items():
            where = f"twice in {one}" if one == other else f"in {one} and in {other}"
            level = NOTE if one == other and not exact else WARNING
            names = tuple(
                " and ".join((*_names(sources[one], [a]), *_names(sources[other], [b])))
                for a, b in rows
            )
            shown = tuple(Place(one, a, (), (other, b)) for a, b in rows)
            yield Finding(level, f"{kind} {where}", names, shown)


def _exact(pictures: Sequence[Seen], places: Sequence[tuple[str, int]]) -> list[tuple[int, int]]:
    """Each picture with the first of the same content in its split and in each before."""
    first: dict[bytes, dict[str, int]] = {}
    pairs = []
    for number, (one, (split, _)) in enumerate(zip(pictures, places, strict=True)):
        if one.content:
            same = first.setdefault(one.content, {})
            pairs += [(other, number) for other in same.values()]
            same.setdefault(split, number)
    return pairs


def _near(pictures: Sequence[Seen], places: Sequence[tuple[str, int]]) -> list[tuple[int, int]]:
    """Pictures whose thumbnails differ in few signs and by few grey levels, but that are not equal.

    Each with the first such picture in its split and in each before, so that a film has as many
    pairs as pictures. A sign says which of two neighbouring cells is the lighter ("difference
    hash", Krawetz 2013).
    """
    grey = np.array([one.thumbnail for one in pictures], np.float32).reshape(-1, *GRID)
    telling = np.flatnonzero(grey.std(axis=(1, 2)) >= FLAT)
    grey = grey[telling]
    count = GRID[0] * (GRID[1] - 1)
    signs = np.where(np.diff(grey, axis=2) > 0, 1.0, -1.0).astype(np.float32).reshape(-1, count)
    first: dict[tuple[int, str], int] = {}  # of a picture, by the split of the other
    for start, other in itertools.product(range(0, len(telling), BLOCK), repeat=2):
        if start > other:
            continue
        agreed = signs[start : start + BLOCK] @ signs[other : other + BLOCK].T
        rows, columns = np.nonzero(agreed >= count - 2 * NEAR)
        found = np.stack([rows + start, columns + other], axis=1)
        for a, b in found[found[:, 0] < found[:, 1]].tolist():
            one, two = int(telling[a]), int(telling[b])
            known = (two, places[one][0])
            equal = pictures[one].content == pictures[two].content
            if known not in first and not equal and np.abs(grey[a] - grey[b]).mean() <= CLOSE:
                first[known] = one
    return sorted((one, two) for (two, _), one in first.items())


def _figures(truth: Annotations, resize: Resize) -> dict[str, Any]:
    """Counts of a split, as json has them."""
    counts = np.diff(truth.offsets)
    sides = truth.boxes[:, 2:] - truth.boxes[:, :2]
    owners = truth.owners()
    share = np.sqrt(sides.prod(axis=1) / truth.sizes[owners].prod(axis=1))
    pictures = Counter(f"{width} x {height}" for height, width in truth.sizes.tolist())
    objects = np.bincount(truth.labels, minlength=len(truth.classes)).tolist()
    holders = [len(np.unique(owners[truth.labels == k])) for k in range(len(truth.classes))]
    of_canvas = truth.areas * picture_growth(truth, resize).prod(axis=1)
    return {
        "pictures": len(counts),
        "objects": len(truth.labels),
        "crowd": int(truth.crowd.sum()),
        "difficult": int(truth.difficult.sum()),
        "picture_sizes": dict(pictures.most_common(8)),
        "picture_sizes_in_all": len(pictures),
        "classes": {
            name: {"objects": n, "pictures": m}
            for name, n, m in zip(truth.classes, objects, holders, strict=True)
        },
        "objects_in_a_picture": _histogram(counts, (1, 2, 3, 5, 10, 20, 50, 100)),
        "size_of_objects": _histogram(share, SIZES),
        "width_by_height": _histogram(sides[:, 0] / sides[:, 1], ASPECTS),
        "area_in_pixels": _histogram(truth.areas, AREAS),
        "area_on_canvas": _histogram(of_canvas, AREAS),
    }


def _histogram(values: np.ndarray, edges: Sequence[float]) -> dict[str, int]:
    """How many lie below the first edge, from each edge to the next, and from the last on."""
    names = [
        f"< {edges[0]:g}",
        *(f"{a:g} to {b:g}" for a, b in itertools.pairwise(edges)),
    ]
    names.append(f">= {edges[-1]:g}")
    bins = np.bincount(np.digitize(values, edges), minlength=len(names)).tolist()
    return dict(zip(names, bins, strict=True))
