"""Matches detections to objects by the rules of pycocotools, all pictures and classes at once."""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

IOUS = np.linspace(0.5, 0.95, 10)
AREAS = np.array([(0, 1e10), (0, 32**2), (32**2, 96**2), (96**2, 1e10)])  # pixels: all, s, m, l
MOST = 100  # detections of a picture and class that count
PAIRS = 2_000_000  # of boxes whose overlap is computed at once
RIGHT, WRONG = 1, -1  # 0: ignored
NO_AREA = -1.0  # outside every range


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


def match(truth: Truth, found: Found, most: int = MOST) -> Matches:
    """What each detection comes to by COCO's rules, as pycocotools' `evaluateImg` has it.

    A crowd takes any number of detections, by the share of each that lies in it. A difficult object
    is ignored like one outside the range of areas: it takes one detection, which then counts
    neither as right nor as wrong.

    Args:
        most: detections of a picture and class that count, the best.
    """
    pictures = len(truth.image_ids)
    order = np.lexsort((-found.scores, found.images, found.labels))
    groups = found.labels[order] * pictures + found.images[order]
    ranks = np.arange(len(order)) - np.searchsorted(groups, groups)
    order, groups, ranks = (column[ranks < most] for column in (order, groups, ranks))
    areas = np.where(truth.difficult & ~truth.crowd, NO_AREA, truth.areas)
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
