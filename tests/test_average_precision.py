"""Weighted scores equal pycocotools' on data sets in which pictures are repeated."""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from detectors.average_precision.files import read_found, read_truth
from detectors.average_precision.matching import Found, Matches, Truth, match
from detectors.average_precision.weighted import bootstrap_weights, scores
from detectors.metrics import (
    PackedDetections,
    coco_results,
    coco_scores,
    select_images,
    write_coco_results,
    write_coco_truth,
)
from detectors.structures import Annotations
from tests.metrics.metric_examples import annotations, packed, pycocotools_scores

IDS = (3, 90, 7)


def random_set(seed: int, pictures: int = 7) -> tuple[Annotations, PackedDetections]:
    """Few places, sizes and scores, so much ties; crowds, difficult objects, empty pictures."""
    rng = np.random.default_rng(seed)
    sizes = {int(i): (400, 400) for i in np.sort(rng.choice(1000, pictures, replace=False))}
    annotated = list(sizes)[1:]

    def box() -> tuple[float, ...]:
        corner, side = rng.integers(0, 4, 2) * 30.0, rng.choice([20.0, 40.0, 110.0], 2)
        return (*corner.tolist(), *(corner + side).tolist())

    def near(row: tuple) -> tuple[float, ...]:
        return (*row[2:4], *(np.array(row[4:6]) + rng.integers(-4, 5, 2)).tolist())

    objects = [
        (
            int(rng.choice(annotated)),
            int(rng.integers(0, 2)),
            *box(),
            str(rng.choice(["", "", "", "crowd", "difficult"])),
        )
        for _ in range(rng.integers(5, 30))
    ]
    aimed = [objects[rng.integers(len(objects))] for _ in range(rng.integers(0, 50))]
    found = [(row[0], row[1], float(rng.integers(1, 12)) / 16, *near(row)) for row in aimed]
    found += [
        (int(rng.choice(list(sizes))), int(rng.integers(0, 3)), float(rng.random()), *box())
        for _ in range(10)
    ]
    return annotations(sizes, objects, IDS), packed(found)


def written(truth: Annotations, found: PackedDetections, folder: Path) -> tuple[Truth, Matches]:
    names = dict.fromkeys(truth.image_ids.tolist())
    write_coco_truth(folder / "truth.json", truth, names)
    write_coco_results(folder / "detections.json", found, truth.category_ids)
    read = read_truth(folder / "truth.json")
    return read, match(read, read_found(folder / "detections.json", read))


def repeated(
    truth: Annotations, found: PackedDetections, times: np.ndarray
) -> tuple[Annotations, PackedDetections]:
    """The data set in which the copies of a picture follow each other."""
    rows = np.repeat(np.arange(len(times)), times)
    copies = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    new = truth.image_ids[rows] * 100 + copies
    parts = [
        PackedDetections(*(column[found.image_ids == i] for column in found))._replace(
            image_ids=np.full((found.image_ids == i).sum(), number)
        )
        for i, number in zip(truth.image_ids[rows], new, strict=True)
    ]
    joined = PackedDetections(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    return select_images(truth, truth.image_ids[rows])._replace(image_ids=new), joined


def by_pycocotools(truth: Annotations, found: PackedDetections) -> dict[str, float]:
    single = truth.difficult & ~truth.crowd
    told = truth._replace(areas=np.where(single, -1.0, truth.areas))
    return pycocotools_scores(told, coco_results(found, truth.category_ids))


@pytest.mark.parametrize("seed", range(50))
def test_integer_weights_are_repeated_pictures(seed: int, tmp_path: Path) -> None:
    truth, found = random_set(seed)
    read, matches = written(truth, found, tmp_path)
    times = np.random.default_rng(seed).integers(0, 4, len(read.image_ids))
    times[-1] = 1
    ours = scores(matches, np.stack([np.ones_like(times), times]))
    for row, of in enumerate([(truth, found), repeated(truth, found, times)]):
        got = {name: values[row] for name, values in ours.items()}
        assert got == pytest.approx(by_pycocotools(*of), abs=1e-12, rel=0)
        assert got == pytest.approx(coco_scores(*of), abs=1e-12, rel=0)


def test_more_than_a_hundred_detections_of_a_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    corners = np.sort(rng.uniform(0, 200, (300, 2, 2)), axis=1).reshape(-1, 4)
    objects = [(5, row % 2, *box) for row, box in enumerate(corners[:40])]
    near = corners + rng.normal(0, 2, corners.shape)
    near[:, 2:] = np.maximum(near[:, :2], near[:, 2:])
    found = packed([(5, row % 2, rng.random().__round__(2), *box) for row, box in enumerate(near)])
    truth = annotations({5: (200, 200)}, objects, IDS)
    ours = scores(written(truth, found, tmp_path)[1])
    expected = coco_scores(truth, found)
    assert {name: values[0] for name, values in ours.items()} == pytest.approx(
        expected, abs=1e-12, rel=0
    )


def test_weights_have_no_unit_and_move_steadily(tmp_path: Path) -> None:
    truth, found = random_set(3)
    found = found._replace(scores=np.random.default_rng(0).random(len(found.scores)))
    _, matches = written(truth, found, tmp_path)
    weights = np.random.default_rng(1).random((5, matches.pictures)) + 0.1
    plain = scores(matches, weights)
    for other in (weights / 7, weights * (1 + 1e-13)):
        for name, values in scores(matches, other).items():
            assert values == pytest.approx(plain[name], abs=1e-9), name


def test_weightings_do_not_see_each_other(tmp_path: Path) -> None:
    """Whatever is computed beside it, and in whatever chunk."""
    truth, found = random_set(1)
    _, matches = written(truth, found, tmp_path)
    weights = bootstrap_weights(matches.pictures, 300, seed=0)
    together = scores(matches, weights)
    for row in (0, 130, 299):
        alone = scores(matches, weights[row : row + 1])
        assert {n: v[row] for n, v in together.items()} == pytest.approx(
            {n: v[0] for n, v in alone.items()}, abs=1e-14
        )


def test_a_class_without_objects_in_a_resample_is_left_out() -> None:
    truth = annotations({1: (9, 9), 2: (9, 9)}, [(1, 0, 0, 0, 9, 9), (2, 1, 0, 0, 9, 9)])
    read = Truth(
        truth.image_ids,
        truth.classes,
        truth.category_ids,
        truth.owners(),
        truth.labels,
        truth.boxes,
        truth.areas,
        truth.crowd,
        truth.difficult,
    )
    found = Found(np.array([0]), np.array([0]), np.array([0.5]), np.array([[0.0, 0.0, 9.0, 9.0]]))
    got = scores(match(read, found), np.array([[1, 1], [1, 0], [0, 1], [0, 0]]))
    assert got["AP"].tolist() == [0.5, 1, 0, -1]
    assert got["AP/class1"].tolist() == [0, -1, 0, -1]
    assert got["APl"].tolist() == [-1] * 4


def test_nothing_found(tmp_path: Path) -> None:
    truth, _ = random_set(2)
    _, matches = written(truth, packed([]), tmp_path)
    weights = bootstrap_weights(matches.pictures, 3, seed=0)
    assert scores(matches, weights)["AP"].tolist() == [0, 0, 0]
    assert scores(matches)["AP"].tolist() == [0]


def test_resampled_pictures_are_as_many_and_drawn_by_the_seed() -> None:
    weights = bootstrap_weights(40, 500, seed=1)
    assert (weights.sum(axis=1) == 40).all()
    assert weights.var() == pytest.approx(1 - 1 / 40, rel=0.05)
    assert (weights == bootstrap_weights(40, 500, seed=1)).all()
    assert (weights != bootstrap_weights(40, 500, seed=2)).any()


def crowded_set() -> tuple[Truth, Found]:
    """500 pictures with 10 objects and 100 boxes each, of 20 classes; a third of them hit."""
    rng = np.random.default_rng(0)
    pictures, classes, objects, boxes = 500, 20, 10, 100
    images = np.repeat(np.arange(pictures), objects)
    count = len(images)
    own = np.hstack([rng.uniform(0, 500, (count, 2)), rng.lognormal(4, 0.7, (count, 2))])
    labels = rng.integers(0, classes, count)
    none = np.zeros(count, dtype=bool)
    names, numbers = tuple(map(str, range(classes))), tuple(range(classes))
    areas = own[:, 2] * own[:, 3]
    truth = Truth(np.arange(pictures), names, numbers, images, labels, own, areas, none, none)
    of = np.repeat(np.arange(pictures), boxes)
    aim = rng.integers(0, objects, len(of)) + objects * of
    hit = rng.random(len(of)) < 0.3
    moved = own[aim]
    moved[:, :2] += rng.normal(0, 0.1, (len(of), 2)) * moved[:, 2:]
    moved[:, 2:] *= np.exp(rng.normal(0, 0.15, (len(of), 2)))
    moved[~hit, :2] = rng.uniform(0, 500, ((~hit).sum(), 2))
    scores = rng.random(len(of)) * np.where(hit, 1, 0.6)
    return truth, Found(of, labels[aim], scores, moved)


@pytest.mark.slow
def test_a_thousand_resamples_take_less_than_five_seconds() -> None:
    truth, found = crowded_set()
    before = time.process_time()
    got = scores(match(truth, found), bootstrap_weights(len(truth.image_ids), 1000, seed=0))
    spent = time.process_time() - before
    assert 0.1 < got["AP"].mean() < 0.9
    assert 0 < got["APs"].mean() < 0.9
    assert spent < 5


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("truth.json", "{", "truth.json is not JSON"),
        ("truth.json", "[]", "truth.json is not COCO's ground truth"),
        ("detections.json", '[{"image_id": 1}]', "detections.json has image_id 1"),
        ("detections.json", '[{"score": 1}]', "detections.json is not COCO's results"),
    ],
)
def test_files_that_cannot_be_read(name: str, text: str, said: str, tmp_path: Path) -> None:
    truth, found = annotations({5: (9, 9)}, [(5, 0, 0, 0, 9, 9)]), packed([])
    read, _ = written(truth, found, tmp_path)
    (tmp_path / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said):
        read_truth(tmp_path / name) if name == "truth.json" else read_found(tmp_path / name, read)


def test_truth_of_others_may_say_less(tmp_path: Path) -> None:
    """COCO's own files know no `difficult`."""
    truth, found = random_set(0)
    read, _ = written(truth, found, tmp_path)
    told = json.loads((tmp_path / "truth.json").read_text())
    for row in told["annotations"]:
        del row["difficult"], row["iscrowd"]
    (tmp_path / "truth.json").write_text(json.dumps(told))
    plain = read_truth(tmp_path / "truth.json")
    assert not plain.difficult.any()
    assert not plain.crowd.any()
    assert (plain.boxes == read.boxes).all()
