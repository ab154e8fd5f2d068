"""Takes an evaluation apart: by class, confidence, size, shape and crowding, and by picture.

Whether a detection is right is COCO's matching at IoU 0.5 throughout, so that the numbers of one
page agree with each other. Difficult objects and crowds count nowhere.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from detectors.average_precision.matching import IOUS, RIGHT, Matches, match, overlapping
from detectors.average_precision.weighted import RECALLS, UNDEFINED, scores
from detectors.report.reading import Evaluated
from detectors.studies.errors import FOREGROUND, judged, real_objects

BINS = 10  # of confidence
LEAST_SCORE = 0.3  # from which on Küppers et al. 2020, sec. 4, ask for calibration
CLASSES = 20  # rows of the matrix of confusions
SHAPES = (  # width by height, the upper end left out
    ("under 1 : 2", 0.0, 0.5),
    ("1 : 2 to 1 : 1", 0.5, 1.0),
    ("1 : 1 to 2 : 1", 1.0, 2.0),
    ("2 : 1 and more", 2.0, np.inf),
)
CROWDS = ((1, 1), (2, 4), (5, 9), (10, 24), (25, None))  # objects in a picture
SIZES = (("small, under 32²", "s"), ("medium, under 96²", "m"), ("large", "l"))


class OfClass(NamedTuple):
    """A row of the table of classes; a number is None where there is no object to find."""

    name: str
    objects: int
    pictures: int
    ap: float | None
    ap50: float | None
    precision: float | None  # at the threshold
    recall: float | None


class Threshold(NamedTuple):
    """The score above which precision and recall are in balance."""

    score: float
    precision: float
    recall: float
    f1: float


class Confusion(NamedTuple):
    """How often an object of each class was found as each class."""

    names: list[str]  # of rows and columns but the last, which are the background
    counts: np.ndarray  # [n + 1, n + 1] int64, rows truth, columns detections
    totals: np.ndarray  # [n + 1] int64, of each row, classes that are left out among them
    left_out: int  # classes without a row and a column


class Bin(NamedTuple):
    """Detections whose scores lie in a tenth of [0, 1]."""

    low: float
    high: float
    size: int  # how many there are
    score: float  # the mean
    precision: float


class Calibration(NamedTuple):
    bins: list[Bin]
    error: float | None  # D-ECE of those with a score of LEAST_SCORE or more; None without any


class Part(NamedTuple):
    """AP of some of the objects."""

    name: str
    objects: int
    ap: float | None


class Mistakes(NamedTuple):
    """What is wrong in a picture."""

    image: int  # row of `truth.image_ids`
    why: str
    missed: np.ndarray  # rows of `truth`
    wrong: np.ndarray  # rows of `found`
    shifted: np.ndarray  # rows of `found`


def right(matches: Matches) -> np.ndarray:
    """[n] bool of the rows of `matches`."""
    return matches.states[:, 0, 0] == RIGHT


def counts(matches: Matches) -> np.ndarray:
    """[n] bool: right or wrong, not ignored."""
    return matches.states[:, 0, 0] != 0


def best_threshold(evaluated: Evaluated) -> Threshold:
    """The score at which F1 over all classes is highest.

    Without a right detection it is 1, and nothing is found.
    """
    matches = evaluated.matches
    kept = counts(matches)
    order = np.argsort(-matches.scores[kept], kind="stable")
    hits = np.cumsum(right(matches)[kept][order])
    ranked = matches.scores[kept][order]
    wanted = int(real_objects(evaluated.truth).sum())
    if not len(hits) or not hits[-1] or not wanted:
        return Threshold(1.0, 0.0, 0.0, 0.0)
    last = np.append(ranked[1:] != ranked[:-1], True)  # equal scores come and go together
    f1 = np.where(last, 2 * hits / (np.arange(1, len(hits) + 1) + wanted), 0.0)
    at = int(f1.argmax())
    return Threshold(
        float(ranked[at]), float(hits[at] / (at + 1)), float(hits[at] / wanted), float(f1[at])
    )


def classes(evaluated: Evaluated, threshold: float) -> list[OfClass]:
    """A row for each class, in the order of the labels."""
    truth, matches = evaluated.truth, evaluated.matches
    wanted = matches.wanted[0]
    every = {name: float(value[0]) for name, value in scores(matches).items()}
    fifty = class_ap(matches, 0)
    above = (matches.scores >= threshold) & counts(matches)
    hits = np.bincount(matches.labels[above & right(matches)], minlength=len(truth.classes))
    shown = np.bincount(matches.labels[above], minlength=len(truth.classes))
    rows = []
    for label, name in enumerate(truth.classes):
        objects = int(wanted[label].sum())
        rows.append(
            OfClass(
                name,
                objects,
                int((wanted[label] > 0).sum()),
                _defined(every[f"AP/{name}"]),
                _defined(float(fifty[label])),
                float(hits[label] / shown[label]) if shown[label] else None,
                float(hits[label] / objects) if objects else None,
            )
        )
    return rows


def class_ap(matches: Matches, threshold: int) -> np.ndarray:
    """[C] Average precision of each class at one of IOUS; -1 without an object to find."""
    areas = [_curve(matches, label, threshold) for label in range(len(matches.classes))]
    return np.array([UNDEFINED if curve is None else curve.mean() for curve in areas])


def precision_curves(evaluated: Evaluated) -> dict[str, np.ndarray]:
    """Precision at each of RECALLS, by the name of the class; without those that have no object."""
    matches = evaluated.matches
    found = {n: _curve(matches, label, 0) for label, n in enumerate(matches.classes)}
    return {name: curve for name, curve in found.items() if curve is not None}


def mean_curves(evaluated: Evaluated) -> dict[str, np.ndarray]:
    """The means over classes at three of the ten overlaps, by their names."""
    matches, means = evaluated.matches, {}
    for place in (0, 5, 8):
        curves = (_curve(matches, label, place) for label in range(len(matches.classes)))
        if there := [curve for curve in curves if curve is not None]:
            means[f"IoU {IOUS[place]:.2f}"] = np.mean(there, axis=0)
    return means


def _curve(matches: Matches, label: int, threshold: int) -> np.ndarray | None:
    """[R] The best precision at each of RECALLS or more, as pycocotools' `accumulate`."""
    wanted = matches.wanted[0, label].sum()
    if not wanted:
        return None
    start, end = np.searchsorted(matches.labels, [label, label + 1])
    states = matches.states[start:end, 0, threshold]
    states = states[states != 0]
    hits = np.cumsum(states == RIGHT)
    precision = hits / np.arange(1, len(hits) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return best[np.searchsorted(hits / wanted, RECALLS, side="left")]


def confusion(evaluated: Evaluated, threshold: float, most: int = CLASSES) -> Confusion:
    """The matrix of the classes that are confused most.

    Objects are taken by detections of their own class first, as COCO has it. What is left of the
    detections then takes, the best first, the object of another class that it overlaps most.

    Args:
        threshold: detections with lower scores are left out.
        most: rows but the background; of more classes those with the most off the diagonal.
    """
    count = len(evaluated.truth.classes)
    table = np.zeros((count + 1, count + 1), dtype=np.int64)
    for truth, found in _pairs(evaluated, threshold):
        table[truth, found] += 1
    if count <= most:
        return Confusion(list(evaluated.truth.classes), table, table.sum(axis=1), 0)
    off = table.sum(axis=0) + table.sum(axis=1) - 2 * np.diag(table)
    kept = np.sort(np.argsort(-off[:-1], kind="stable")[:most])
    rows = np.append(kept, count)
    names = [evaluated.truth.classes[label] for label in kept]
    return Confusion(names, table[np.ix_(rows, rows)], table.sum(axis=1)[rows], count - most)


def _pairs(evaluated: Evaluated, threshold: float) -> Iterator[tuple[int, int]]:
    """Labels of what was there and of what was found; the number of classes is the background."""
    truth, matches = evaluated.truth, evaluated.matches
    none = len(truth.classes)
    real = real_objects(evaluated.truth)
    above = (matches.scores >= threshold) & counts(matches)
    hit = above & right(matches)
    free = real.copy()
    free[matches.objects[hit]] = False
    yield from ((label, label) for label in matches.labels[hit].tolist())
    rows, objects = np.flatnonzero(above & ~hit), np.flatnonzero(free)
    taken: dict[int, int] = {}
    for row, object_ in _other_class(evaluated, rows, objects):
        if row not in taken and free[object_]:
            taken[row], free[object_] = object_, False
    for row in rows.tolist():
        yield int(truth.labels[taken[row]]) if row in taken else none, int(matches.labels[row])
    yield from ((label, none) for label in truth.labels[free].tolist())


def _other_class(
    evaluated: Evaluated, rows: np.ndarray, objects: np.ndarray
) -> Iterator[tuple[int, int]]:
    """Detections and objects that overlap enough: the best detection first, then by overlap."""
    truth, matches, boxes = evaluated.truth, evaluated.matches, evaluated.found.boxes
    row, column, overlap = overlapping(
        matches.images[rows],
        truth.images[objects],
        boxes[matches.rows[rows]],
        truth.boxes[objects],
        FOREGROUND,
        np.zeros(len(objects), dtype=bool),
    )
    order = np.lexsort((-overlap, -matches.scores[rows[row]]))
    yield from zip(rows[row[order]].tolist(), objects[column[order]].tolist(), strict=True)


def calibration(evaluated: Evaluated) -> Calibration:
    """Precision beside confidence, and the detection expected calibration error.

    Küppers et al. 2020, "Multivariate Confidence Calibration for Object Detection", eq. 7, of the
    confidence alone: the mean difference of precision and score over bins, by their counts.
    """
    matches = evaluated.matches
    kept = counts(matches)
    confidence, hits = matches.scores[kept], right(matches)[kept]
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    bins = [
        Bin(
            number / BINS,
            (number + 1) / BINS,
            int(own.sum()),
            float(confidence[own].mean()),
            float(hits[own].mean()),
        )
        for number in range(BINS)
        if (own := place == number).any()
    ]
    asked = [one for one in bins if one.low >= LEAST_SCORE - 1e-9]
    total = sum(one.size for one in asked)
    errors = sum(one.size * abs(one.precision - one.score) for one in asked)
    return Calibration(bins, errors / total if total else None)


def by_size(evaluated: Evaluated) -> list[Part]:
    """COCO's three sizes, by the area in pixels."""
    matches = evaluated.matches
    values = scores(matches)
    return [
        Part(name, int(matches.wanted[row].sum()), _defined(float(values[f"AP{key}"][0])))
        for row, (name, key) in enumerate(SIZES, 1)
    ]


def by_shape(evaluated: Evaluated) -> list[Part]:
    """By width over height, with COCO's rule for sizes.

    Objects of other shapes are ignored, and so are detections of other shapes that find nothing.
    """
    truth, found = evaluated.truth, evaluated.found
    own, theirs = _ratio(truth.boxes), _ratio(found.boxes)
    parts = []
    for name, low, high in SHAPES:
        outside = ~((own >= low) & (own < high))
        matches = match(truth._replace(difficult=truth.difficult | outside), found)
        strange = ~((theirs >= low) & (theirs < high))[matches.rows]
        lost = strange[:, None, None] & (matches.states != RIGHT)
        matches = matches._replace(states=np.where(lost, 0, matches.states))
        parts.append(_part(name, matches, None))
    return parts


def _ratio(boxes: np.ndarray) -> np.ndarray:
    return boxes[:, 2] / np.maximum(boxes[:, 3], 1e-9)


def by_crowding(evaluated: Evaluated) -> list[Part]:
    """By the number of objects in the picture."""
    inside = evaluated.matches.wanted[0].sum(axis=0)
    parts = []
    for low, high in CROWDS:
        weights = (inside >= low) & (inside <= (np.inf if high is None else high))
        name = f"{low} or more" if high is None else str(low) if low == high else f"{low} to {high}"
        parts.append(_part(name, evaluated.matches, weights[None].astype(np.float64)))
    return parts


def _part(name: str, matches: Matches, weights: np.ndarray | None) -> Part:
    columns = np.ones(matches.pictures) if weights is None else weights[0]
    objects = int((matches.wanted[0] @ columns).sum())
    return Part(name, objects, _defined(float(scores(matches, weights, "AP")["AP"][0])))


def _defined(value: float) -> float | None:
    return None if value < 0 else value


def worst_pictures(evaluated: Evaluated, threshold: float, most: int) -> list[Mistakes]:
    """Pictures with the most mistakes, a third of them for each kind as far as there are so many.

    That is: objects missed; detections of nothing, of another class or for the second time, by
    their scores; and boxes that lie badly, by their number. None is shown twice.

    Args:
        threshold: detections with lower scores count for nothing.
        most: pictures; fewer where fewer have a mistake.
    """
    kinds = _mistakes(evaluated, threshold)
    truth, found, images = evaluated.truth, evaluated.found, len(evaluated.truth.image_ids)
    costs = {
        "missed": np.bincount(truth.images[kinds["missed"]], minlength=images),
        "false": np.bincount(
            found.images[kinds["wrong"]], found.scores[kinds["wrong"]], minlength=images
        ),
        "badly placed": np.bincount(found.images[kinds["shifted"]], minlength=images),
    }
    chosen: dict[int, str] = {}
    shares = [(why, most * number // len(costs)) for number, why in enumerate(costs, 1)]
    for why, limit in [*shares, *((why, most) for why in costs)]:  # then what is left of `most`
        cost = costs[why]
        ranking = np.lexsort((truth.image_ids, -cost))
        for image in ranking[cost[ranking] > 0].tolist():
            if len(chosen) >= limit:
                break
            chosen.setdefault(image, why)
    return [_of_picture(evaluated, image, why, kinds) for image, why in chosen.items()]


def _mistakes(evaluated: Evaluated, threshold: float) -> dict[str, np.ndarray]:
    """Rows of objects that are missed, and of detections that are wrong or badly placed."""
    matches = evaluated.matches
    kinds = judged(evaluated.truth, evaluated.found, matches).kinds
    above = (matches.scores >= threshold) & counts(matches)
    missed = real_objects(evaluated.truth)
    missed[matches.objects[above & right(matches)]] = False
    wrong = above & ~right(matches)
    return {
        "missed": np.flatnonzero(missed),
        "wrong": matches.rows[wrong & (kinds != "Loc")],
        "shifted": matches.rows[wrong & (kinds == "Loc")],
    }


def _of_picture(
    evaluated: Evaluated, image: int, why: str, kinds: Mapping[str, np.ndarray]
) -> Mistakes:
    truth, found = evaluated.truth, evaluated.found
    missed = kinds["missed"][truth.images[kinds["missed"]] == image]
    wrong, shifted = (
        kinds[name][found.images[kinds[name]] == image] for name in ("wrong", "shifted")
    )
    return Mistakes(image, why, missed, wrong, shifted)
