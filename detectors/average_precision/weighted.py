"""COCO's average precision and recall of a run for any weights of its pictures.

Weights only change how much each picture counts, so that a thousand resamples of the pictures cost
seconds.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
from scipy import sparse

from detectors.average_precision.matching import IOUS, MOST, RIGHT, Matches, counted
from detectors.random_streams import stream

UNDEFINED = -1.0  # without any object to find, as in pycocotools
RECALLS = np.linspace(0, 1, 101)
STEP = RECALLS[1]  # times a whole number, it is that recall to the last bit
CELLS = 2**17  # numbers of a curve at once: they then stay in the processor's cache
LEAST = 128  # weightings at once
ROUNDING = 1e-12  # of recalls by weights that are no integers


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
