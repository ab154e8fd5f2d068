"""Costs of errors are those of TIDE, and each oracle corrects what it is for."""

import numpy as np
import pytest

from detectors.average_precision.matching import Found, Truth, match
from detectors.average_precision.weighted import bootstrap_weights, scores
from detectors.studies.errors import KINDS, error_costs, error_kinds

# The sets on which tidecv was run
PICTURES, CLASSES, SEEDS = 60, 4, (0, 1, 2, 3)


def rows_of(seed: int) -> tuple[list, list]:
    """Objects (picture, label, xywh, crowd) and detections (picture, label, score, xywh).

    Detections hit objects more or less, of the right class or another, or nothing; pictures 0 and
    1 have no object, 2 and 3 no detection; with odd seeds there are crowds.
    """
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for picture in range(2, PICTURES):
        for _ in range(rng.integers(1, 9)):
            box = np.concatenate([rng.uniform(0, 250, 2), rng.uniform(20, 120, 2)])
            crowd = seed % 2 == 1 and rng.random() < 0.15
            objects.append((picture, int(rng.integers(CLASSES)), box.tolist(), crowd))
    for picture, label, box, _ in objects:
        for _ in range(rng.integers(0, 4) if picture > 3 else 0):
            moved = (
                np.array(box) + rng.normal(0, rng.uniform(0, 0.4), 4) * np.array(box)[[2, 3, 2, 3]]
            )
            moved[2:] = np.abs(moved[2:]) + 1
            other = rng.random() < 0.25
            found.append(
                (
                    picture,
                    int(rng.integers(CLASSES)) if other else label,
                    rng.random(),
                    moved.tolist(),
                )
            )
    for picture in range(PICTURES):
        for _ in range(rng.integers(0, 4) if picture not in (2, 3) else 0):
            box = np.concatenate([rng.uniform(0, 250, 2), rng.uniform(20, 120, 2)])
            found.append((picture, int(rng.integers(CLASSES)), 0.5 * rng.random(), box.tolist()))
    return objects, found


# End of the sets

# By tidecv 1.0.1 (MIT), in an environment of its own as it needs another OpenCV: these rows as
# `tidecv.Data`, crowds as ignore regions of their class, then `TIDE().evaluate(objects, found,
# pos_threshold=0.5, background_threshold=0.1, mode=TIDE.BOX).fix_main_errors()`, AP points.
TIDECV = {
    0: (
        17.4202,
        {
            "Cls": 6.5113,
            "Loc": 27.3890,
            "Both": 1.3394,
            "Dupe": 0.7591,
            "Bkg": 1.1585,
            "Miss": 6.7101,
        },
    ),
    1: (
        20.3260,
        {
            "Cls": 4.5589,
            "Loc": 24.9422,
            "Both": 2.3171,
            "Dupe": 1.3437,
            "Bkg": 1.8307,
            "Miss": 6.8593,
        },
    ),
    2: (
        22.4333,
        {
            "Cls": 3.5568,
            "Loc": 24.5195,
            "Both": 1.3509,
            "Dupe": 1.1699,
            "Bkg": 1.4330,
            "Miss": 9.3574,
        },
    ),
    3: (
        14.4973,
        {
            "Cls": 8.0642,
            "Loc": 20.3543,
            "Both": 1.5346,
            "Dupe": 0.7217,
            "Bkg": 1.7867,
            "Miss": 5.6234,
        },
    ),
}


def read(objects: list, found: list, pictures: int = PICTURES) -> tuple[Truth, Found]:
    boxes = np.array([row[2] for row in objects], dtype=float).reshape(-1, 4)
    truth = Truth(
        image_ids=np.arange(pictures),
        classes=tuple(map(str, range(CLASSES))),
        category_ids=tuple(range(CLASSES)),
        images=np.array([row[0] for row in objects], dtype=int),
        labels=np.array([row[1] for row in objects], dtype=int),
        boxes=boxes,
        areas=boxes[:, 2:].prod(axis=1),
        crowd=np.array([row[3] for row in objects], dtype=bool),
        difficult=np.zeros(len(objects), dtype=bool),
    )
    return truth, Found(
        np.array([row[0] for row in found], dtype=int),
        np.array([row[1] for row in found], dtype=int),
        np.array([row[2] for row in found], dtype=float),
        np.array([row[3] for row in found], dtype=float).reshape(-1, 4),
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_costs_are_tidecvs(seed: int) -> None:
    truth, found = read(*rows_of(seed))
    ap50, expected = TIDECV[seed]
    got = {kind: 100 * lost for kind, lost in error_kinds(truth, found).items()}
    assert list(got) == list(KINDS)
    assert got == pytest.approx(expected, abs=0.05)
    assert 100 * scores(match(truth, found))["AP50"][0] == pytest.approx(ap50, abs=0.05)


BOX, BESIDE, FAR = [0.0, 0.0, 10.0, 10.0], [4.0, 0.0, 10.0, 10.0], [50.0, 50.0, 10.0, 10.0]
ONE = [(0, 0, BOX, False), (0, 1, FAR, False)]
HIT = (0, 1, 0.9, FAR)


@pytest.mark.parametrize(
    ("kind", "found", "gained"),
    [
        ("Cls", [HIT, (0, 2, 0.5, BOX)], 0.5),
        ("Loc", [HIT, (0, 0, 0.5, BESIDE)], 0.5),
        ("Both", [(0, 1, 0.95, BESIDE), HIT], 0.25),
        ("Dupe", [HIT, (0, 1, 0.8, FAR), (0, 0, 0.5, BOX)], 0.0),
        ("Bkg", [(0, 1, 0.95, [80.0, 0.0, 5.0, 5.0]), HIT], 0.25),
        ("Miss", [HIT], 0.5),
    ],
)
def test_by_hand(kind: str, found: list, gained: float) -> None:
    """One of two objects is found; of the other class AP50 is 0, or 1/2 behind a wrong one."""
    costs = error_kinds(*read(ONE, found))
    assert costs[kind] == pytest.approx(gained)
    others = {name for name, cost in costs.items() if cost > 0} - {kind}
    assert others <= {"Miss"}


def test_a_weight_is_a_repeated_picture() -> None:
    objects, found = rows_of(1)
    truth, detections = read(objects, found)
    times = np.random.default_rng(0).integers(0, 4, PICTURES)
    weighted = error_costs(truth, detections, match(truth, detections), times[None])
    copies = [(picture, copy) for picture in range(PICTURES) for copy in range(times[picture])]
    place = {pair: index for index, pair in enumerate(copies)}
    again = [
        [(i, *row[1:]) for (picture, _), i in place.items() for row in rows if row[0] == picture]
        for rows in (objects, found)
    ]
    repeated = error_kinds(*read(again[0], again[1], pictures=len(copies)))
    assert {kind: values[0] for kind, values in weighted.items()} == pytest.approx(
        repeated, abs=1e-12
    )


def test_costs_of_resampled_pictures_scatter_around_the_cost() -> None:
    truth, found = read(*rows_of(0))
    draws = error_costs(truth, found, match(truth, found), bootstrap_weights(PICTURES, 200, seed=0))
    for kind, cost in error_kinds(truth, found).items():
        assert draws[kind].shape == (200,)
        assert 0 < draws[kind].std() < 0.1
        assert abs(draws[kind].mean() - cost) < 2 * draws[kind].std()


def test_difficult_objects_are_neither_missed_nor_meant() -> None:
    truth, found = read(ONE, [HIT, (0, 0, 0.5, BESIDE)])
    costs = error_kinds(truth._replace(difficult=np.array([True, False])), found)
    assert costs == dict.fromkeys(KINDS, 0.0)


def test_nothing_found_is_missed_and_nothing_to_find_costs_nothing() -> None:
    assert error_kinds(*read(ONE, [])) == dict.fromkeys(KINDS, 0.0) | {"Miss": 1.0}
    assert error_kinds(*read([], [HIT])) == dict.fromkeys(KINDS, 0.0)
