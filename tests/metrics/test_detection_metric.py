"""The metric gathers detections, counts each image once, and forgets them when reset."""

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from detectors.metrics import DetectionMetric, PackedDetections, coco_results
from detectors.structures import Annotations, Detections
from tests.metrics.metric_examples import annotations, batch, detections, pycocotools_scores
from tests.pairs import run_as_pair

SAME = [1.0, 1.0, 0.0, 0.0]
SIZES = {1: (100, 100), 2: (50, 80), 3: (60, 60)}
OBJECTS = [(1, 0, 0, 0, 10, 10), (1, 1, 20, 20, 40, 40), (2, 0, 70, 40, 80, 50)]
PICTURES = {
    1: [(0, 0.9, 0, 0, 10, 9), (1, 0.5, 21, 20, 40, 40), (1, 0.5, 60, 60, 70, 70)],
    2: [(0, 0.8, 0, 0, 10, 10), (0, 0.7, 70, 40, 80, 50)],
    3: [(0, 0.6, 0, 0, 10, 10)],
}


def updated(metric: DetectionMetric, *batches: list[int]) -> DetectionMetric:
    for ids in batches:
        metric.update(detections([PICTURES[i] for i in ids]), batch(ids, [SAME] * len(ids)))
    return metric


def test_boxes_return_to_the_original_image_and_are_clipped_to_it() -> None:
    metric = DetectionMetric(annotations(SIZES, OBJECTS))
    found = detections([[(2, 0.25, 8, 12, 50, 30)]])
    metric.update(found, batch([2], [[2.0, 1.5, -10.0, -8.0]]))
    back = metric.found()
    assert back.boxes.tolist() == [[6.0, 10.0, 80.0, 37.0]]
    assert (back.image_ids.tolist(), back.labels.tolist(), back.scores.tolist()) == (
        [2],
        [2],
        [0.25],
    )


def test_boxes_are_not_rounded_on_the_way() -> None:
    metric = DetectionMetric(annotations(SIZES, OBJECTS))
    scale, corner = np.float32(1.1), np.float32(33.3)
    metric.update(
        detections([[(0, 0.5, 0, 0, corner, corner)]]), batch([1], [[scale, scale, 0.0, 0.0]])
    )
    assert metric.found().boxes[0, 2] == float(scale) * float(corner)


def test_an_image_seen_twice_counts_once() -> None:
    truth = annotations(SIZES, OBJECTS)
    once = updated(DetectionMetric(truth), [1, 2], [3]).compute()
    assert updated(DetectionMetric(truth), [3, 1], [2, 1], [3]).compute() == once


def test_only_seen_images_are_evaluated() -> None:
    one = updated(DetectionMetric(annotations(SIZES, OBJECTS)), [2]).compute()
    alone = annotations({2: SIZES[2]}, OBJECTS[2:])
    assert one == updated(DetectionMetric(alone), [2]).compute()


def test_equal_to_pycocotools_from_batch_to_score() -> None:
    truth = annotations(SIZES, OBJECTS)
    metric = updated(DetectionMetric(truth), [2], [3, 1])
    expected = pycocotools_scores(truth, coco_results(metric.found(), truth.category_ids))
    scores = metric.compute()
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-9)
    assert 0 < scores["AP"] < 1


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_without_an_update_all_is_undefined() -> None:
    assert set(DetectionMetric(annotations(SIZES, OBJECTS)).compute().values()) == {-1.0}
    assert set(DetectionMetric(annotations({}, [])).compute().values()) == {-1.0}


def test_reset_forgets() -> None:
    metric = updated(DetectionMetric(annotations(SIZES, OBJECTS)), [1])
    first = metric.compute()
    metric.reset()
    assert updated(metric, [1]).compute() == first


def test_detections_that_are_no_numbers_are_dropped_aloud(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metric = DetectionMetric(annotations(SIZES, OBJECTS))
    metric.update(detections([[(0, 0.5, 0, 0, float("nan"), 1), *PICTURES[1]]]), batch([1], [SAME]))
    assert len(metric.found().scores) == 3
    assert "dropped 1 of 4 detections" in caplog.text


def test_an_image_without_annotations_is_named() -> None:
    metric = DetectionMetric(annotations({1: (9, 9)}, []))
    with pytest.raises(ValueError, match=r"1 of 2 evaluated images .* image id 3"):
        updated(metric, [1, 3]).compute()


def test_two_processes_equal_one(tmp_path: Path) -> None:
    """The second process sees image 1 again, and then nothing at all."""
    one = updated(DetectionMetric(annotations(SIZES, OBJECTS)), [1, 2, 3])
    run_as_pair(share, tmp_path, ([[1, 2]], [[3, 1]]), ([[1, 2], [3]], []))
    for file in ("0 0.pt", "0 1.pt", "1 0.pt", "1 1.pt"):
        scores, found = torch.load(tmp_path / file, weights_only=False)
        assert scores == one.compute()
        for ours, theirs in zip(one.found(), found, strict=True):
            np.testing.assert_array_equal(ours, theirs)


def share(rank: int, folder: Path, first: tuple[list, list], second: tuple[list, list]) -> None:
    """One of two processes."""
    for number, shares in enumerate((first, second)):
        metric = updated(DetectionMetric(annotations(SIZES, OBJECTS)), *shares[rank])
        torch.save((metric.compute(), metric.found()), folder / f"{number} {rank}.pt")


@pytest.mark.slow
def test_at_most_an_eighth_of_the_time_of_pycocotools() -> None:
    """5,000 images, 36,000 objects, 500,000 detections; seconds of processor."""
    truth, found = many(images=5000, objects=36_000, per_image=100)
    metric = DetectionMetric(truth)
    for part in range(0, 5000, 50):
        metric.update(*padded(found, part, 50))
    start = time.process_time()
    ours = metric.compute()
    middle = time.process_time()
    theirs = pycocotools_scores(truth, coco_results(found, truth.category_ids))
    seconds = middle - start, time.process_time() - middle
    print(f"ours {seconds[0]:.1f} s, pycocotools {seconds[1]:.1f} s")
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs, abs=1e-9)
    assert seconds[0] <= seconds[1] / 8


def many(images: int, objects: int, per_image: int) -> tuple[Annotations, PackedDetections]:
    """80 classes of falling frequency; half the detections lie near an object of their image."""
    rng = np.random.default_rng(0)
    image = np.sort(rng.integers(0, images, objects))
    labels = rng.geometric(0.06, objects).clip(max=80) - 1
    boxes = random_boxes(rng, objects)
    truth = annotations({}, [], tuple(range(1, 160, 2)))._replace(
        image_ids=np.arange(images),
        sizes=np.full((images, 2), 640),
        offsets=np.searchsorted(image, np.arange(images + 1)),
        boxes=boxes,
        labels=labels,
        crowd=rng.random(objects) < 0.01,
        difficult=np.zeros(objects, dtype=bool),
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
    )
    where = np.repeat(np.arange(images), per_image)
    spread = truth.offsets[where + 1] - truth.offsets[where]
    near = (rng.random(len(where)) < 0.5) & (spread > 0)
    picked = (
        (truth.offsets[where] + rng.random(len(where)) * spread).astype(int).clip(0, objects - 1)
    )
    shaken = boxes[picked] + rng.normal(0, 4, (len(where), 4))
    shaken[:, 2:] = np.maximum(shaken[:, 2:], shaken[:, :2])
    anywhere = random_boxes(rng, len(where))
    guessed = rng.geometric(0.06, len(where)).clip(max=80) - 1
    found = PackedDetections(
        image_ids=where,
        labels=np.where(near, labels[picked], guessed),
        scores=rng.random(len(where), dtype=np.float32).astype(np.float64),
        boxes=np.where(near[:, None], shaken, anywhere).astype(np.float32).clip(0, 640) * 1.0,
    )
    return truth, found


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corner = rng.uniform(0, 500, (count, 2))
    return np.concatenate([corner, corner + np.exp(rng.uniform(2, 4.9, (count, 2)))], axis=1)


def padded(found: PackedDetections, first: int, images: int) -> tuple[Detections, object]:
    """A batch of `images` images from `first` on."""
    length = len(found.scores) // (found.image_ids[-1] + 1)
    rows = slice(first * length, (first + images) * length)
    boxes, scores, labels = (
        torch.from_numpy(column[rows]).unflatten(0, (images, length))
        for column in (found.boxes.astype(np.float32), found.scores, found.labels)
    )
    ids = list(range(first, first + images))
    valid = torch.ones(images, length, dtype=torch.bool)
    return Detections(boxes, scores.float(), labels, valid), batch(ids, [SAME] * images)
