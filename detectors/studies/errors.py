"""What each kind of error costs a run: the AP50 that is gained where it alone is corrected.

Bolya et al. 2020, "TIDE: A General Toolbox for Identifying Object Detection Errors", sec. 2.2 and
2.3. As AP50 is COCO's here, a class without objects counts nowhere, and a hundred detections are
kept of each picture and class, not of each picture.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from detectors.average_precision.matching import (
    RIGHT,
    Found,
    Matches,
    Truth,
    counted,
    match,
    overlapping,
)
from detectors.average_precision.weighted import Space, average_precisions, by_picture, goal

FOREGROUND, BACKGROUND = 0.5, 0.1  # IoU, TIDE sec. 2.2
KINDS = {
    "Cls": "right place, wrong class",
    "Loc": "right class, wrong place",
    "Both": "wrong class and wrong place",
    "Dupe": "found before",
    "Bkg": "nothing is there",
    "Miss": "not found, not even by one of the errors above",
}


class Outcomes(NamedTuple):
    """Detections and objects to find, as an oracle leaves them."""

    labels: np.ndarray  # [n]
    states: np.ndarray  # [n]
    wanted: np.ndarray  # [G] bool


class Judged(NamedTuple):
    """Which error each detection is, and what it would have found without it."""

    kinds: np.ndarray  # [n] str, "" where it is right
    objects: np.ndarray  # [n] the object that Cls and Loc mean, -1 where it is found or lost
    missed: np.ndarray  # [G] bool


def error_kinds(truth: Truth, found: Found) -> dict[str, float]:
    """AP50 lost by each of KINDS, in [0, 1]."""
    return {kind: float(v[0]) for kind, v in error_costs(truth, found, match(truth, found)).items()}


def error_costs(
    truth: Truth, found: Found, matches: Matches, weights: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """AP50 lost by each of KINDS under W weightings of the pictures, [W] in [0, 1].

    They need not add up to what is missing to 1, because each is corrected while the others stay.

    Args:
        matches: of `truth` and `found`.
        weights: [W, I]; None counts every picture once.
    """
    columns = by_picture(matches, weights)
    real = real_objects(truth)
    plain = Outcomes(matches.labels, matches.states[:, 0, 0], real)
    fixed = dict(_oracles(truth, plain, judged(truth, found, matches)))
    relabelled = fixed.pop("Cls")
    base, *others = _ap50(truth, matches, [plain, *fixed.values()], real, columns)
    gained = dict(zip(fixed, others, strict=True))
    gained["Cls"] = _ap50(truth, matches, [relabelled], real, columns)[0]
    return {kind: np.maximum(gained[kind] - base, 0.0) for kind in KINDS}


def real_objects(truth: Truth) -> np.ndarray:
    """[G] bool: neither crowd nor difficult, so to be found."""
    return ~(truth.crowd | truth.difficult)


def _oracles(truth: Truth, plain: Outcomes, errors: Judged) -> Iterator[tuple[str, Outcomes]]:
    """TIDE sec. 2.3: a detection that can be corrected is, any other of that kind is removed."""
    for kind in KINDS:
        if kind == "Miss":
            yield kind, plain._replace(wanted=plain.wanted & ~errors.missed)
            continue
        own = errors.kinds == kind
        mended = own & (errors.objects >= 0)
        labels = plain.labels.copy()
        labels[mended] = truth.labels[errors.objects[mended]]
        states = np.where(mended, RIGHT, np.where(own, 0, plain.states))
        yield kind, plain._replace(labels=labels, states=states)


def judged(truth: Truth, found: Found, matches: Matches) -> Judged:
    """The kind of every detection that is not right, the first that applies as in TIDE's code.

    Rows are those of `matches`, of `truth` and `found`.
    """
    real = real_objects(truth)
    right = matches.states[:, 0, 0] == RIGHT
    used = np.zeros(len(real), dtype=bool)
    used[matches.objects[right]] = True
    pairs, count = _near(truth, found, matches, real), len(right)
    row, column, _ = pairs
    same = matches.labels[row] == truth.labels[column]
    own, mine = _best(pairs, same, count)
    other, theirs = _best(pairs, ~same, count)
    tests = {
        "": right,
        "Loc": (own >= BACKGROUND) & (own <= FOREGROUND),
        "Cls": other >= FOREGROUND,
        "Dupe": _best(pairs, same & used[column], count)[0] >= FOREGROUND,
        "Bkg": np.maximum(own, other) <= BACKGROUND,
    }
    kinds = np.select(list(tests.values()), list(tests), default="Both")
    meant = np.select([kinds == "Loc", kinds == "Cls"], [mine, theirs], default=-1)
    meant = np.where(np.append(~used, False)[meant], meant, -1)
    missed = real & ~used
    missed[meant[meant >= 0]] = False
    return Judged(kinds, _best_of_each(meant, matches), missed)


def _near(
    truth: Truth, found: Found, matches: Matches, real: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections and real objects of any class that overlap, and how much they do."""
    objects = np.flatnonzero(real)
    row, column, overlap = overlapping(
        matches.images,
        truth.images[objects],
        found.boxes[matches.rows],
        truth.boxes[objects],
        BACKGROUND,
        np.zeros(len(objects), dtype=bool),
    )
    return row, objects[column], overlap


def _best(
    pairs: tuple[np.ndarray, np.ndarray, np.ndarray], which: np.ndarray, count: int
) -> tuple[np.ndarray, np.ndarray]:
    """The largest overlap of each of n detections, 0 without one, and its object, else -1."""
    row, column, overlap = (part[which] for part in pairs)
    order = np.lexsort((column, -overlap, row))
    first = order[np.flatnonzero(np.diff(row[order], prepend=-1))]
    best, object_ = np.zeros(count), np.full(count, -1)
    best[row[first]], object_[row[first]] = overlap[first], column[first]
    return best, object_


def _best_of_each(meant: np.ndarray, matches: Matches) -> np.ndarray:
    """[n] Objects that are meant, each by its best detection alone; -1 in all others."""
    some = np.flatnonzero(meant >= 0)
    order = some[np.lexsort((matches.rows[some], -matches.scores[some], meant[some]))]
    first = order[np.flatnonzero(np.diff(meant[order], prepend=-1))]
    objects = np.full(len(meant), -1)
    objects[first] = meant[first]
    return objects


def _ap50(
    truth: Truth,
    matches: Matches,
    outcomes: Sequence[Outcomes],
    real: np.ndarray,
    columns: np.ndarray,
) -> np.ndarray:
    """[K, W] Means over the classes that have objects, of K outcomes with the same labels.

    Of a class whose objects are all missed nothing is left without them; it is then left out,
    unless detections of it remain. Where that leaves no class, everything is missed: 1.
    """
    labels = outcomes[0].labels
    order = np.lexsort((matches.rows, matches.images, -matches.scores, labels))
    labels, images = labels[order], matches.images[order]
    states = np.stack([of.states[order] for of in outcomes], axis=1)
    shape, classes = (len(outcomes), columns.shape[1]), len(truth.classes)
    (total, count), every, space = np.zeros((2, *shape)), np.zeros(shape[1]), Space()
    bounds = np.searchsorted(labels, np.arange(classes + 1))
    before = _weights(truth, real, columns)
    after = np.stack([_weights(truth, of.wanted, columns) for of in outcomes], axis=1)
    goals = goal(after, columns)
    for label, part in enumerate(itertools.starmap(slice, itertools.pairwise(bounds))):
        seen = _present(images[part], states[part], columns)
        counts = (before[label] > 0) & ((after[label] > 0) | seen)
        averages = average_precisions(images[part], states[part], columns, goals[label], space)
        total += np.where(counts, averages, 0.0)
        count += counts
        every += before[label] > 0
    return np.where((count == 0) & (every > 0), 1.0, total / np.maximum(count, 1))


def _weights(truth: Truth, which: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """[C, W] of some objects in each class."""
    shape = len(truth.classes), len(columns)
    return counted(truth.labels, truth.images, which, shape) @ columns


def _present(images: np.ndarray, states: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """[K, W] Whether any detection that counts is there."""
    there = [np.unique(images[column != 0]) for column in states.T]
    return np.stack([columns[rows].any(axis=0) for rows in there])
