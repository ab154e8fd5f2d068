"""Stages reach their targets, and what they are trained on is what a scan sees."""

import cv2
import numpy as np
import pytest

from detectors.fitted.cascade_scan import layers, scan
from detectors.fitted.cascade_training import (
    StageTargets,
    empty_cascade,
    false_alarms,
    object_windows,
    passes,
    train_stage,
)
from tests.fitted.small_cascades import picture

SIDE = 8


def _objects(count: int = 40) -> np.ndarray:
    """Windows with a left half that is a little darker."""
    generator = np.random.default_rng(1)
    windows = generator.integers(30, 256, (count, SIDE, SIDE))
    windows[..., : SIDE // 2] -= 30
    return windows.astype(np.uint8)


def _others(count: int = 60) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, SIDE, SIDE)).astype(np.uint8)


def test_a_stage_meets_its_targets() -> None:
    objects, others = _objects(), _others()
    targets = StageTargets(detection_rate=0.95, false_positive_rate=0.2, stumps=50)
    cascade, figures = train_stage(empty_cascade(SIDE, SIDE), objects, others, targets)
    assert passes(cascade, objects).mean() == figures.detection_rate >= 0.95
    assert passes(cascade, others).mean() == figures.false_positive_rate <= 0.2
    assert figures.stumps == len(cascade.feature)


def test_a_second_stage_is_for_what_the_first_lets_pass() -> None:
    objects, others = _objects(), _others(400)
    loose = StageTargets(detection_rate=0.9, false_positive_rate=0.5, stumps=3)
    first, _ = train_stage(empty_cascade(SIDE, SIDE), objects, others, loose)
    left = others[passes(first, others)]
    second, figures = train_stage(first, objects[passes(first, objects)], left, loose)
    assert passes(second, left).mean() == figures.false_positive_rate < 1
    assert len(second.stage_thresholds) == 2
    assert (passes(second, others) <= passes(first, others)).all()


def test_a_scan_finds_what_passes() -> None:
    targets = StageTargets(detection_rate=0.9, false_positive_rate=0.5, stumps=3)
    cascade, _ = train_stage(empty_cascade(SIDE, SIDE), _objects(), _others(), targets)
    pyramid = layers(picture(40, 44), (SIDE, SIDE), 1.25)
    found = scan(cascade, pyramid)
    crops = _crops(pyramid, found.layer, found.places)
    assert len(crops) > 3
    assert passes(cascade, crops).all()
    assert (found.margins >= 0).all()


def _crops(pyramid: list, layer: np.ndarray, places: np.ndarray) -> np.ndarray:
    images = [pyramid[number].image for number in layer]
    return np.array(
        [
            image[y : y + SIDE, x : x + SIDE]
            for image, (x, y) in zip(images, places.tolist(), strict=True)
        ]
    )


def test_false_alarms_pass_and_keep_off_objects() -> None:
    cascade, grey = empty_cascade(SIDE, SIDE), picture(40, 44)
    pyramid = layers(grey, (SIDE, SIDE), 1.5)
    everywhere = np.array([[0, 0, 44, 40]])
    generator = np.random.default_rng(0)
    seen = [(pyramid, np.zeros((0, 4), int), np.zeros(0, bool))]
    assert false_alarms(cascade, iter(seen * 3), 50, 20, generator).shape == (50, SIDE, SIDE)
    assert false_alarms(cascade, iter(seen), 50, 20, generator).shape == (20, SIDE, SIDE)
    covered = [(layers(grey, (SIDE, SIDE), 1.5, smallest=36), everywhere, np.array([False]))]
    assert false_alarms(cascade, iter(covered), 50, 20, generator).shape == (0, SIDE, SIDE)
    crowded = [(pyramid, everywhere, np.array([True]))]  # with which small windows have no IoU
    assert false_alarms(cascade, iter(crowded), 50, 20, generator).shape == (0, SIDE, SIDE)


def test_an_untrained_cascade_passes_what_varies() -> None:
    flat = np.full((12, 30), 100, np.uint8)
    flat[:, 15:] = picture(12, 15)
    found = scan(empty_cascade(SIDE, SIDE), layers(flat, (SIDE, SIDE), 2.0))
    assert len(found.boxes) > 0
    assert (found.boxes[:, 0] > 15 - SIDE).all()


def test_windows_of_objects() -> None:
    grey = picture(60, 60)
    boxes = np.array([[10, 20, 26, 36], [-2, 0, 14, 16], [0, 0, 80, 80.0]])
    found = object_windows(grey, boxes, SIDE, SIDE, margin=0.0)
    assert len(found) == 2  # the last does not fit
    halved = layers(grey, (SIDE, SIDE), 2.0)[1].image
    np.testing.assert_array_equal(found[0], halved[10:18, 5:13])
    np.testing.assert_array_equal(found[1], halved[:8, :8])
    wider = object_windows(grey, boxes[:1] + np.array([0, 0, -4, -4]), SIDE, SIDE, margin=1 / 6)
    np.testing.assert_array_equal(wider[0], object_windows(grey, boxes[:1] - 2, SIDE, SIDE, 0)[0])


def test_windows_of_objects_are_shifted_and_scaled_a_little() -> None:
    grey, boxes = picture(60, 60), np.array([[20, 20, 36, 36]] * 30)
    generator = np.random.default_rng(0)
    found = object_windows(grey, boxes, SIDE, SIDE, 0.0, 0.1, generator)
    cuts = {
        cv2.resize(
            np.ascontiguousarray(grey[y : y + side, x : x + side]),
            (SIDE, SIDE),
            interpolation=cv2.INTER_LINEAR_EXACT,
        ).tobytes()
        for side in range(13, 20)
        for y in range(16, 25)
        for x in range(16, 25)
    }
    assert {crop.tobytes() for crop in found} <= cuts
    assert len({crop.tobytes() for crop in found}) > 15


@pytest.mark.parametrize("rate", [1.0, 0.9])
def test_missed_objects_are_counted_exactly(rate: float) -> None:
    """0.9 of ten objects are nine, whatever rounding says."""
    targets = StageTargets(rate, 0.0, stumps=1)
    _, figures = train_stage(empty_cascade(SIDE, SIDE), _others(10), _others(70)[10:], targets)
    assert figures.detection_rate >= rate
