"""COCO's average precision and recall of a run for any weights of its pictures.

Detections are matched to objects once, by the rules of pycocotools. Weights then only change how
much each picture counts, so that a thousand resamples of the pictures cost seconds.
"""

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from detectors.random_streams import stream

UNDEFINED = -1.0  # without any object to find, as in pycocotools
IOUS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
STEP = RECALLS[1]  # times a whole number, it is that recall to the last bit
AREAS = np.array([(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)])  # pixels: all, s, m, l
MOST = 100  # detections of a picture and class that count
CELLS = 2**17  # numbers of a curve at once: they then stay in the processor's cache
LEAST = 128  # weightings at once
PAIRS = 2_000_000  # of boxes whose overlap is computed at once
ROUNDING = 1e-12  # of recalls by weights that are no integers
RIGHT, WRONG = 1, -1  # 0: ignored


class Truth(NamedTuple):
    """The objects of the evaluated pictures; rows in the order of the file."""

    image_ids: np.ndarray  # [I] int64, rising
    classes: tuple[str, ...]  # [C]
    category_ids: tuple[int, ...]  # [C]
    images: np.ndarray  # [G] int64 in 0..I-1
    labels: np.ndarray  # [G] int64 in 0..C-1
    boxes: np.ndarray  # [G, 4] float64 xywh, pixels of the original image
    areas: np.ndarray  # [G] float64, pixels
    crowd: np.ndarray  # [G] bool
    difficult: np.ndarray  # [G] bool


class Found(NamedTuple):
    """The detections in these pictures; rows in the order of the file."""

    images: np.ndarray  # [n] int64 in 0..I-1
    labels: np.ndarray  # [n] int64 in 0..C-1
    scores: np.ndarray  # [n] float64
    boxes: np.ndarray  # [n, 4] float64 xywh


class Matches(NamedTuple):
    """What each detection came to; class by class, the best first, equal scores by picture."""

    pictures: int
    classes: tuple[str, ...]
    rows: np.ndarray  # [n] int64, the detection's row in `Found`
    images: np.ndarray  # [n] int64
    labels: np.ndarray  # [n] int64
    scores: np.ndarray  # [n] float64
    ranks: np.ndarray  # [n] int64, from 0 within picture and class
    states: np.ndarray  # [n, A, T] int8, RIGHT, WRONG or 0 where ignored
    objects: np.ndarray  # [n] int64, found at IoU 0.5 over all areas; -1 without one
    wanted: np.ndarray  # [A, C, I] how many objects are to be found


class Space:
    """Memory that is used again, because the system takes longer to give more than sums take."""

    def __init__(self) -> None:
        self._flat = np.empty((4, 0))

    def arrays(self, shape: tuple[int, ...]) -> list[np.ndarray]:
        """Four arrays of a shape, until they are asked for again."""
        size = math.prod(shape)
        if self._flat.shape[1] < size:
            self._flat = np.empty((4, size))
        return [row[:size].reshape(shape) for row in self._flat]


def read_truth(file: str | Path) -> Truth:
    """The ground truth of a COCO file, `truth.json` of a run.

    Raises:
        ValueError: it is no such file.
    """
    told = _read(file)
    try:
        ids = np.unique(np.array([image["id"] for image in told["images"]], dtype=np.int64))
        rows, kinds = told["annotations"], told["categories"]
        categories = [int(kind["id"]) for kind in kinds]
        return Truth(
            image_ids=ids,
            classes=tuple(str(kind["name"]) for kind in kinds),
            category_ids=tuple(categories),
            images=_places(file, "image_id", rows, ids.tolist()),
            labels=_places(file, "category_id", rows, categories),
            boxes=np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4),
            areas=np.array([row["area"] for row in rows], dtype=np.float64),
            crowd=np.array([row.get("iscrowd", 0) for row in rows], dtype=bool),
            difficult=np.array([row.get("difficult", 0) for row in rows], dtype=bool),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(file, "COCO's ground truth", error) from error


def read_found(file: str | Path, truth: Truth) -> Found:
    """The detections of a COCO results file, `detections.json` of a run.

    Raises:
        ValueError: it is no such file, or names a picture or a class that `truth` lacks.
    """
    rows = _read(file)
    try:
        return Found(
            images=_places(file, "image_id", rows, truth.image_ids.tolist()),
            labels=_places(file, "category_id", rows, truth.category_ids),
            scores=np.array([row["score"] for row in rows], dtype=np.float64),
            boxes=np.array([row["bbox"] for row in rows], dtype=np.float64).reshape(-1, 4),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise _unreadable(file, "COCO's results", error) from error


def _read(file: str | Path) -> Any:
    try:
        return json.loads(Path(file).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise _unreadable(file, "JSON", error) from error


def _unreadable(file: str | Path, expected: str, error: Exception) -> ValueError:
    return ValueError(
        f"{file} is not {expected} ({type(error).__name__}: {error}): run `detectors evaluate` on "
        "the run again, which writes it anew"
    )


def _places(
    file: str | Path, key: str, rows: Sequence[Mapping[str, Any]], known: Sequence[int]
) -> np.ndarray:
    """[n] Where in `known` each row's `key` stands."""
    place = {number: index for index, number in enumerate(known)}
    try:
        return np.array([place[row[key]] for row in rows], dtype=np.int64)
    except KeyError as error:
        if error.args == (key,):
            raise
        raise ValueError(
            f"{file} has {key} {error}, which the ground truth does not know: keep the "
            "truth.json and detections.json of one run together"
        ) from error


def match(truth: Truth, found: Found) -> Matches:
    """What each detection comes to by COCO's rules, as pycocotools' `evaluateImg` has it.

    A difficult object is ignored like one outside the range of areas, as `coco_scores` does; it
    takes one detection. A crowd takes any number.
    """
    pictures = len(truth.image_ids)
    order = np.lexsort((-found.scores, found.images, found.labels))
    groups = found.labels[order] * pictures + found.images[order]
    ranks = np.arange(len(order)) - np.searchsorted(groups, groups)
    order, groups, ranks = (column[ranks < MOST] for column in (order, groups, ranks))
    areas = np.where(truth.difficult & ~truth.crowd, UNDEFINED, truth.areas)
    ignored = _outside(areas) | truth.crowd[:, None]
    states, objects = _judged(truth, Found(*(c[order] for c in found)), groups, ignored)
    ranking = np.lexsort((ranks, found.images[order], -found.scores[order], found.labels[order]))
    rows, shape = order[ranking], (len(truth.classes), pictures)
    return Matches(
        pictures=pictures,
        classes=truth.classes,
        rows=rows,
        images=found.images[rows],
        labels=found.labels[rows],
        scores=found.scores[rows],
        ranks=ranks[ranking],
        states=states[ranking],
        objects=objects[ranking],
        wanted=np.stack([counted(truth.labels, truth.images, ~o, shape) for o in ignored.T]),
    )


def _outside(areas: np.ndarray) -> np.ndarray:
    """[n, A] Whether each of n areas lies outside the range."""
    return (areas[:, None] < AREAS[:, 0]) | (areas[:, None] > AREAS[:, 1])


def counted(
    rows: np.ndarray, columns: np.ndarray, counts: np.ndarray, shape: tuple[int, int]
) -> np.ndarray:
    """[R, I] Sums of the counts that share row and column."""
    size = shape[0] * shape[1]
    return np.bincount(rows * shape[1] + columns, counts, size).reshape(shape)


def _judged(
    truth: Truth, found: Found, groups: np.ndarray, ignored: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """States [n, A, T] and objects [n] of detections that stand best first in their groups.

    All groups are matched at once: first the best detection of each that overlaps an object, then
    the second best, and so on.
    """
    outside = _outside(found.boxes[:, 2] * found.boxes[:, 3])
    states = np.where(outside, 0, WRONG).astype(np.int8)[..., None].repeat(len(IOUS), axis=2)
    objects = np.full(len(groups), -1)
    own = truth.labels * len(truth.image_ids) + truth.images
    detection, object_, overlap = overlapping(
        groups, own, found.boxes, truth.boxes, IOUS[0], truth.crowd
    )
    rows, candidates, overlaps = _candidates(detection, object_, overlap)
    rounds = np.arange(len(rows)) - np.searchsorted(groups[rows], groups[rows])
    taken = np.zeros((len(own), len(AREAS), len(IOUS)), dtype=bool)
    for now in _by_value(rounds):
        pick, matched = _picked(candidates[now], overlaps[now], taken, truth.crowd, ignored)
        of, area, threshold = np.nonzero(matched)
        picked = pick[of, area, threshold]
        taken[picked, area, threshold] = True
        states[rows[now][of], area, threshold] = np.where(ignored[picked, area], 0, RIGHT)
        objects[rows[now]] = np.where(matched[:, 0, 0], pick[:, 0, 0], -1)
    return states, objects


def _by_value(values: np.ndarray) -> Iterator[np.ndarray]:
    """Rows of 0, of 1, and so on; no value in between is missing."""
    order = np.argsort(values, kind="stable")
    bounds = np.searchsorted(values[order], np.arange(values.max(initial=-1) + 2))
    for start, end in itertools.pairwise(bounds):
        yield order[start:end]


def _candidates(
    detection: np.ndarray, object_: np.ndarray, overlap: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows [d] of detections with candidates, these [d, K] by rising overlap, and the overlaps."""
    order = np.lexsort((object_, overlap, detection))
    rows, first, counts = np.unique(detection[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(first, counts)
    which = np.repeat(np.arange(len(rows)), counts)
    candidates = np.zeros((len(rows), counts.max(initial=0)), dtype=np.int64)
    overlaps = np.full(candidates.shape, -1.0)
    candidates[which, place], overlaps[which, place] = object_[order], overlap[order]
    return rows, candidates, overlaps


def _picked(
    candidates: np.ndarray,
    overlaps: np.ndarray,
    taken: np.ndarray,
    crowd: np.ndarray,
    ignored: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """The object that each of d detections takes, and whether it takes one, both [d, A, T].

    Of the objects that are free it is the one that overlaps most, the last of equals, and an
    ignored one only where there is no other.
    """
    count = candidates.shape[1]
    free = ~taken[candidates] | crowd[candidates][..., None, None]
    able = free & (overlaps[..., None, None] >= np.minimum(IOUS, 1 - 1e-10))
    place = 1 + np.arange(count)[:, None] + count * ~ignored[candidates]
    value = np.where(able, place[..., None], 0)
    best = value.argmax(axis=1)
    rows = np.arange(len(candidates))[:, None, None]
    return candidates[rows, best], value.max(axis=1) > 0


def overlapping(
    a_groups: np.ndarray,
    b_groups: np.ndarray,
    a: np.ndarray,
    b: np.ndarray,
    least: float,
    crowd: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of a and of b that share their group and overlap by `least`, and how much they do.

    Args:
        a: [n, 4] xywh.
        b: [m, 4] xywh.
        crowd: [m] bool: overlap is the share of a's box, else IoU.
    """
    order = np.argsort(b_groups, kind="stable")
    start = np.searchsorted(b_groups[order], a_groups)
    counts = np.searchsorted(b_groups[order], a_groups, side="right") - start
    parts = []
    for rows in np.split(np.arange(len(a)), _cuts(np.cumsum(counts))):
        first = np.repeat(rows, counts[rows])
        shift = np.cumsum(counts[rows]) - counts[rows]
        second = order[np.arange(len(first)) + np.repeat(start[rows] - shift, counts[rows])]
        overlap = _overlap(a[first], b[second], crowd[second])
        parts.append(tuple(column[overlap >= least] for column in (first, second, overlap)))
    first, second, overlap = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return first, second, overlap


def _cuts(ends: np.ndarray) -> np.ndarray:
    """Where to cut the rows, so that none of the parts but a single row exceeds PAIRS."""
    total = int(ends[-1]) if len(ends) else 0
    return np.unique(np.searchsorted(ends, np.arange(PAIRS, total, PAIRS)))


def _overlap(a: np.ndarray, b: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """[n] of xywh boxes row by row, in the order of operations of pycocotools' `bbIou`."""
    sides = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    shared = np.where((sides > 0).all(axis=1), sides[:, 0] * sides[:, 1], 0.0)
    own = a[:, 2] * a[:, 3]
    union = np.where(crowd, own, own + b[:, 2] * b[:, 3] - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)


def bootstrap_weights(images: int, draws: int, seed: int) -> np.ndarray:
    """[draws, images] How often each picture is drawn when as many as there are are drawn anew."""
    generator = stream(seed, name="resampled pictures")
    return generator.multinomial(images, np.full(images, 1 / images), size=draws).astype(np.float64)


def scores(
    matches: Matches, weights: np.ndarray | None = None, metric: str | None = None
) -> dict[str, np.ndarray]:
    """COCO's twelve numbers and `AP/<class>` for W weightings of the pictures, each [W] in [0, 1].

    An integer weight k is the picture k times in the data set, to the last bits what pycocotools
    gives for it. Only where detections of one picture and class have equal scores do the copies
    matter, which COCO ranks one after the other; a fraction then counts as a part of a copy.

    Args:
        weights: [W, I], none negative; None counts every picture once.
        metric: the only one that is wanted; None: all.

    Returns:
        -1 where no object is to be found, which leaves a class out of the mean.
    """
    columns = by_picture(matches, weights)
    wanted = matches.wanted @ columns
    precision = _precisions(matches, columns, wanted, metric)
    found = {name: _mean(*pair) for name, pair in precision.items()}
    for name, area, most in _recalls():
        if metric in (None, name):
            recall = _recall(matches, columns, wanted[area], area, most)
            found[name] = _mean(recall, wanted[area] > 0)
    if "AP" in precision:
        by_class = np.where(precision["AP"][1], precision["AP"][0], UNDEFINED)
        found |= {f"AP/{name}": r for name, r in zip(matches.classes, by_class, strict=True)}
    return found


def by_picture(matches: Matches, weights: np.ndarray | None) -> np.ndarray:
    """[I, W] of weights [W, I]; ones where there are none."""
    if weights is None:
        return np.ones((matches.pictures, 1))
    return np.ascontiguousarray(np.asarray(weights, np.float64).T)


def _recalls() -> Iterator[tuple[str, int, int]]:
    """Name, row of AREAS and most detections of each recall."""
    yield from ((f"AR{most}", 0, most) for most in (1, 10, MOST))
    yield from ((f"AR{size}", area, MOST) for area, size in enumerate("sml", 1))


def _mean(values: np.ndarray, defined: np.ndarray) -> np.ndarray:
    """[W] of values [C, W] over the classes in which they are defined."""
    count = defined.sum(axis=0)
    total = np.where(defined, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), UNDEFINED)


def _recall(
    matches: Matches, columns: np.ndarray, wanted: np.ndarray, area: int, most: int
) -> np.ndarray:
    """[C, W] Share of the objects that are found, the mean over IoU thresholds."""
    counts = (matches.states[:, area] == RIGHT).sum(axis=1) * (matches.ranks < most)
    shape = (len(matches.classes), matches.pictures)
    hits = counted(matches.labels, matches.images, counts, shape)
    return (hits @ columns) / (len(IOUS) * np.where(wanted > 0, wanted, 1.0))


def _precisions(
    matches: Matches, columns: np.ndarray, wanted: np.ndarray, metric: str | None
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Average precision of each class [C, W] and where it is defined, by name."""
    names = {"AP": (0, slice(None)), "AP50": (0, slice(0, 1)), "AP75": (0, slice(5, 6))}
    names |= {f"AP{size}": (area, slice(None)) for area, size in enumerate("sml", 1)}
    if metric is not None:
        names = {n: place for n, place in names.items() if n == metric.partition("/")[0]}
    values = {name: np.zeros(wanted[0].shape) for name in names}
    rows, images, columns = _copied(matches, columns)
    bounds, space = np.searchsorted(matches.labels[rows], np.arange(len(wanted[0]) + 1)), Space()
    goals = goal(wanted, columns)
    for label, part in enumerate(itertools.starmap(slice, itertools.pairwise(bounds))):
        for area in {area for area, _ in names.values()}:
            states = matches.states[rows[part], area]
            averages = average_precisions(images[part], states, columns, goals[area, label], space)
            for name, (at, thresholds) in names.items():
                if at == area:
                    values[name][label] = averages[thresholds].mean(axis=0)
    return {name: (values[name], wanted[area] > 0) for name, (area, _) in names.items()}


def _copied(matches: Matches, columns: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of `matches` as COCO ranks them if pictures are there several times.

    Detections of a picture and class that tie and of which some are right and some wrong come once
    for each copy of the picture, which has weights of its own.

    Returns:
        Rows [r], where each finds its weights, and these [I + copies, W].
    """
    copies = math.ceil(columns.max(initial=1))
    rows, images = np.arange(len(matches.rows)), matches.images
    mixed, tie = _mixed_ties(matches)
    if copies < 2 or not mixed.any():
        return rows, images, columns
    times = np.where(mixed, copies, 1)
    copy = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
    again = np.repeat(rows, times)
    order = np.lexsort((again, copy, tie[again]))
    rows, copy = again[order], copy[order]
    places, several = images[rows], mixed[rows]
    pairs, place = np.unique(places[several] * copies + copy[several], return_inverse=True)
    places[several] = matches.pictures + place
    parts = np.clip(columns[pairs // copies] - (pairs % copies)[:, None], 0, 1)
    return rows, places, np.concatenate([columns, parts])


def _mixed_ties(matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Whether detections tie with others of their picture and class that fare otherwise; ties [n].

    Of states that are equal, the order does not matter.
    """
    keys = matches.labels, matches.scores, matches.images
    new = np.ones(len(matches.rows), dtype=bool)
    new[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    tie, first = np.cumsum(new) - 1, np.flatnonzero(new)
    if len(first) == len(new):
        return np.zeros(len(new), dtype=bool), tie
    least, most = (f.reduceat(matches.states, first, axis=0) for f in (np.minimum, np.maximum))
    return (least != most).any(axis=(1, 2))[tie], tie


def average_precisions(
    images: np.ndarray,
    states: np.ndarray,
    columns: np.ndarray,
    goals: np.ndarray,
    space: Space,
) -> np.ndarray:
    """[T, W] Means of the precision over COCO's 101 recalls, of one class.

    Precision only falls between right detections, and a recall is reached at one of them, so all
    others are only counted.

    Args:
        images: [n] rows of `columns`, the best detection first.
        states: [n, T], in each column of one IoU threshold, or of other rules.
        columns: [I, W] weights.
        goals: [W] or [T, W], `goal` of the weight of all objects to find.
        space: for what is computed.
    """
    right = states == RIGHT
    rows = np.flatnonzero(right.any(axis=1))
    averages = np.zeros((states.shape[1], columns.shape[1]))
    if not len(rows):
        return averages
    counted = states[: rows[-1] + 1] != 0
    between, shape = _between(images, counted, rows, len(columns))
    own_right, images = right[rows].astype(np.float64)[..., None], images[rows]
    step = max(LEAST, CELLS // own_right.size)
    for start in range(0, columns.shape[1], step):
        now = slice(start, start + step)
        part = columns[:, now]
        found, *room = space.arrays((*own_right.shape[:2], part.shape[1]))
        seen = (between @ part).reshape(*shape, -1)
        if shape[1] > 1:
            seen[:, 1:] += seen[:, :1]
        _running(np.add, seen)
        _running(np.add, np.multiply(part[images][:, None], own_right, out=found))
        averages[:, now] = _average(found, seen, goals[..., now], room)
    return averages


def _between(
    images: np.ndarray, counted: np.ndarray, rows: np.ndarray, pictures: int
) -> tuple[sparse.csr_array, tuple[int, int]]:
    """How many of each picture count between each of k rows and the one before it, itself included.

    The matrix [k * T, I] has those of the first column, and of the others how many more; it is
    [k, I] where all columns are the same.

    Args:
        counted: [n, T] up to the last of the rows.

    Returns:
        It, and (k, 1 or T).
    """
    more = counted.astype(np.int8)
    more[:, 1:] -= more[:, :1]
    more = more if more[:, 1:].any() else more[:, :1]
    which, column = np.nonzero(more)
    shape = len(rows), more.shape[1]
    place = np.searchsorted(rows, which) * shape[1] + column
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], np.arange(shape[0] * shape[1] + 1))
    entries = more[which, column][order].astype(np.float64), images[which[order]], starts
    return sparse.csr_array(entries, shape=(shape[0] * shape[1], pictures)), shape


def goal(wanted: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The weights of all objects [..., W] of which recalls are shares, for weights [I, W].

    Of weights that are no integers the last bits are unsure. Where nothing is to be found it is 1.
    """
    whole = (columns == np.rint(columns)).all()
    return np.where(wanted > 0, wanted, 1.0) * (1 if whole else 1 - ROUNDING)


def _average(
    found: np.ndarray, seen: np.ndarray, goals: np.ndarray, room: Sequence[np.ndarray]
) -> np.ndarray:
    """[T, w] Mean of the precision over 101 recalls, each taken where it is reached first.

    Of each row it is asked how many of the 101 it is first to reach.

    Args:
        found: [k, T, w] weight of what is right up to each row; overwritten.
        seen: [k, 1 or T, w] weight of all that counts up to each row; overwritten.
        goals: [w] or [T, w] weight of all objects to find.
        room: arrays like `found`, which are overwritten.
    """
    precision, reached, more = room
    seen[seen == 0] = 1
    np.divide(found, seen, out=precision)
    _running(np.maximum, precision[::-1])
    found /= goals
    _reached(found, reached, more)
    np.subtract(reached[1:], reached[:-1], out=found[1:])
    found[:1] = reached[:1]
    return np.einsum("ktw,ktw->tw", precision, found) / len(RECALLS)


def _running(combine: np.ufunc, rows: np.ndarray) -> np.ndarray:
    """The rows, each combined with all before it, in place: `accumulate` takes 4 times as long."""
    for before, row in itertools.pairwise(rows):
        combine(before, row, out=row)
    return rows


def _reached(recall: np.ndarray, out: np.ndarray, more: np.ndarray) -> None:
    """How many of RECALLS are at most `recall`; exact, and faster than a search."""
    np.multiply(recall, len(RECALLS) - 1, out=out)
    out += 1 - 1e-7
    np.floor(out, out=out)  # so many are, or one more
    np.multiply(out, STEP, out=more)
    np.subtract(recall, more, out=more)
    np.floor(more, out=more)  # -1 where one more is not
    more += 1
    out += more
