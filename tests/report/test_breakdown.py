"""An evaluation taken apart, by hand and against the numbers of COCO."""

import numpy as np
import pytest

from detectors.average_precision.matching import Found, Truth, match
from detectors.average_precision.weighted import scores
from detectors.report import breakdown
from detectors.report.reading import Evaluated

CLASSES = ("cat", "dog")
Box = tuple[int, str, tuple[float, float, float, float]]  # picture, class, xywh


def evaluated(objects: list[Box], found: list[tuple[float, Box]], pictures: int = 3) -> Evaluated:
    """What was there and, with its score, what was found."""
    labels = [CLASSES.index(name) for _, name, _ in objects]
    boxes = np.array([box for *_, box in objects], dtype=np.float64).reshape(-1, 4)
    truth = Truth(
        image_ids=np.arange(pictures),
        classes=CLASSES,
        category_ids=(1, 2),
        images=np.array([image for image, *_ in objects], dtype=np.int64),
        labels=np.array(labels, dtype=np.int64),
        boxes=boxes,
        areas=boxes[:, 2] * boxes[:, 3],
        crowd=np.zeros(len(objects), dtype=bool),
        difficult=np.zeros(len(objects), dtype=bool),
    )
    guesses = Found(
        images=np.array([image for _, (image, *_) in found], dtype=np.int64),
        labels=np.array([CLASSES.index(name) for _, (_, name, _) in found], dtype=np.int64),
        scores=np.array([score for score, _ in found]),
        boxes=np.array([box for _, (*_, box) in found], dtype=np.float64).reshape(-1, 4),
    )
    images = [{"id": i, "width": 400, "height": 400, "file_name": None} for i in range(pictures)]
    return Evaluated(truth, guesses, match(truth, guesses), images)


HERE, THERE, FAR = (0.0, 0.0, 50.0, 50.0), (100.0, 0.0, 50.0, 50.0), (200.0, 200.0, 50.0, 50.0)
OBJECTS: list[Box] = [(0, "cat", HERE), (0, "dog", THERE), (1, "cat", HERE), (2, "dog", HERE)]
FOUND = [
    (0.9, (0, "cat", HERE)),  # right
    (0.8, (0, "cat", THERE)),  # a dog
    (0.7, (1, "cat", (0.0, 0.0, 50.0, 20.0))),  # badly placed: IoU 0.4
    (0.6, (1, "dog", FAR)),  # nothing
    (0.2, (2, "dog", HERE)),  # right, but unsure
]


@pytest.fixture
def some() -> Evaluated:
    return evaluated(OBJECTS, FOUND)


def random(seed: int, count: int = 400) -> Evaluated:
    """Objects, and detections that lie about them, of any class."""
    generator = np.random.default_rng(seed)
    corner, side = generator.uniform(0, 300, (count, 2)), generator.uniform(8, 120, (count, 2))
    images = generator.integers(0, 12, count)
    names = [CLASSES[label] for label in generator.integers(0, 2, count)]
    boxes = np.concatenate([corner, side], axis=1)
    objects = [(int(i), n, tuple(b)) for i, n, b in zip(images, names, boxes, strict=True)]
    shift = generator.normal(0, 6, boxes.shape) * [1, 1, 0, 0]
    other = [n if generator.random() < 0.8 else CLASSES[n == "cat"] for n in names]
    found = [
        (round(float(s), 2), (int(i), n, tuple(b)))
        for s, i, n, b in zip(generator.random(count), images, other, boxes + shift, strict=True)
    ]
    return evaluated(objects, found, pictures=12)


def test_the_threshold_is_where_f1_is_highest(some: Evaluated) -> None:
    """After the first detection 2 * 1 / (1 + 4), after all five 2 * 2 / (5 + 4)."""
    found = breakdown.best_threshold(some)
    assert (found.score, found.precision, found.recall) == (0.2, 2 / 5, 2 / 4)
    assert found.f1 == pytest.approx(4 / 9)


def test_equal_scores_are_kept_or_left_together() -> None:
    ties = [(0.5, (0, "cat", HERE)), (0.5, (0, "cat", FAR)), (0.5, (1, "cat", FAR))]
    found = breakdown.best_threshold(evaluated([(0, "cat", HERE)], ties))
    assert (found.score, found.precision) == (0.5, 1 / 3)


def test_without_a_right_detection_nothing_is_found(some: Evaluated) -> None:
    lost = breakdown.best_threshold(evaluated(OBJECTS, FOUND[1:2]))
    assert lost == (1.0, 0.0, 0.0, 0.0)
    assert breakdown.best_threshold(evaluated([], FOUND)) == (1.0, 0.0, 0.0, 0.0)


def test_a_row_of_each_class(some: Evaluated) -> None:
    cat, dog = breakdown.classes(some, 0.5)
    assert (cat.name, cat.objects, cat.pictures) == ("cat", 2, 2)
    assert (cat.precision, cat.recall) == (1 / 3, 1 / 2)
    assert (dog.precision, dog.recall) == (0.0, 0.0)
    assert dog.ap == pytest.approx(float(scores(some.matches)["AP/dog"][0]))


def test_a_class_without_objects_has_no_ap() -> None:
    _, dog = breakdown.classes(evaluated(OBJECTS[:1], FOUND), 0.5)
    assert (dog.ap, dog.ap50, dog.recall, dog.precision) == (None, None, None, 0.0)


@pytest.mark.parametrize("seed", range(5))
def test_curves_have_the_area_that_coco_reports(seed: int) -> None:
    found = random(seed)
    means = breakdown.mean_curves(found)
    values = scores(found.matches)
    assert means["IoU 0.50"].mean() == pytest.approx(values["AP50"][0], abs=1e-12)
    assert means["IoU 0.75"].mean() == pytest.approx(values["AP75"][0], abs=1e-12)
    classes = breakdown.precision_curves(found)
    assert np.mean([c.mean() for c in classes.values()]) == pytest.approx(values["AP50"][0])


def test_confusion_by_hand(some: Evaluated) -> None:
    """A cat, and one that is missed; a dog taken for a cat, and one missed; two of nothing."""
    found = breakdown.confusion(some, 0.5, most=20)
    assert found.counts.tolist() == [[1, 0, 1], [1, 0, 1], [1, 1, 0]]


def test_an_object_goes_to_its_own_class_though_another_is_surer() -> None:
    found = [(0.9, (0, "dog", HERE)), (0.4, (0, "cat", HERE))]
    table = breakdown.confusion(evaluated([(0, "cat", HERE)], found), 0.1, most=20).counts
    assert table.tolist() == [[1, 0, 0], [0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
def test_confusion_counts_each_object_and_each_detection_once(threshold: float) -> None:
    found = random(1)
    table = breakdown.confusion(found, threshold, most=20).counts
    objects = np.bincount(found.truth.labels, minlength=2)
    assert table.sum(axis=1)[:2].tolist() == objects.tolist()
    shown = found.found.labels[found.found.scores >= threshold]
    assert table.sum(axis=0)[:2].tolist() == np.bincount(shown, minlength=2).tolist()
    rows = breakdown.classes(found, threshold)
    recalls = (np.diag(table)[:2] / objects).tolist()
    assert [row.recall for row in rows] == pytest.approx(recalls)


def test_of_many_classes_the_most_confused_are_shown(some: Evaluated) -> None:
    few = breakdown.confusion(some, 0.5, most=1)
    assert (few.names, few.left_out, few.counts.shape) == (["cat"], 1, (2, 2))
    assert few.totals.tolist() == [2, 2]  # all cats, and all detections of nothing


def test_calibration_by_hand() -> None:
    """Bins 0.9: one right; 0.6: one of two right; 0.1 is under the least score."""
    found = [(0.95, (0, "cat", HERE)), (0.62, (1, "cat", HERE)), (0.66, (1, "cat", FAR))]
    told = breakdown.calibration(evaluated(OBJECTS, [*found, (0.1, (2, "cat", FAR))]))
    assert [(one.low, one.size, one.precision) for one in told.bins] == [
        (0.1, 1, 0.0),
        (0.6, 2, 0.5),
        (0.9, 1, 1.0),
    ]
    assert told.error == pytest.approx((2 * abs(0.5 - 0.64) + 1 * abs(1 - 0.95)) / 3)


def test_a_score_of_one_lies_in_the_last_bin() -> None:
    told = breakdown.calibration(evaluated(OBJECTS, [(1.0, (0, "cat", HERE))]))
    assert [one.high for one in told.bins] == [1.0]


def test_without_a_sure_detection_there_is_no_calibration_error() -> None:
    assert breakdown.calibration(evaluated(OBJECTS, [(0.1, (0, "cat", HERE))])).error is None


def test_sizes_are_cocos() -> None:
    found = random(2)
    values = scores(found.matches)
    parts = breakdown.by_size(found)
    assert [p.ap for p in parts] == pytest.approx([float(values[f"AP{s}"][0]) for s in "sml"])
    assert sum(part.objects for part in parts) == len(found.truth.labels)


def test_shapes_count_what_is_theirs() -> None:
    """A wide box of nothing costs the wide alone, and a wide object that is found helps them."""
    wide, wide_far = (0.0, 0.0, 90.0, 30.0), (0.0, 200.0, 90.0, 30.0)
    objects = [(0, "cat", wide), (1, "cat", HERE)]
    found = [(0.9, (0, "cat", wide_far)), (0.8, (0, "cat", wide)), (0.7, (1, "cat", HERE))]
    parts = {part.name: part for part in breakdown.by_shape(evaluated(objects, found))}
    assert [part.objects for part in parts.values()] == [0, 0, 1, 1]
    assert parts["1 : 1 to 2 : 1"].ap == 1.0
    assert parts["2 : 1 and more"].ap == pytest.approx(0.5)
    assert parts["under 1 : 2"].ap is None


@pytest.mark.parametrize("seed", range(3))
def test_all_shapes_together_hold_all_objects(seed: int) -> None:
    found = random(seed)
    assert sum(part.objects for part in breakdown.by_shape(found)) == len(found.truth.labels)


def test_crowding_is_ap_of_those_pictures_alone() -> None:
    objects = [(0, "cat", HERE), (1, "cat", HERE), (1, "cat", THERE)]
    found = [(0.9, (1, "cat", HERE)), (0.8, (0, "cat", FAR)), (0.7, (0, "cat", HERE))]
    parts = {part.name: part for part in breakdown.by_crowding(evaluated(objects, found))}
    assert (parts["1"].objects, parts["1"].ap) == (1, pytest.approx(0.5))
    assert parts["2 to 4"].objects == 2
    assert parts["2 to 4"].ap == pytest.approx(51 / 101)  # one of two found, the first that counts
    assert parts["5 to 9"].ap is None


def test_worst_pictures_name_what_is_wrong(some: Evaluated) -> None:
    shown = {one.image: one for one in breakdown.worst_pictures(some, 0.5, most=24)}
    assert shown[0].missed.tolist() == [1]
    assert shown[0].wrong.tolist() == [1]
    assert shown[1].missed.tolist() == [2]
    assert (shown[1].wrong.tolist(), shown[1].shifted.tolist()) == ([3], [2])
    assert shown[2].missed.tolist() == [3]


def test_a_third_of_the_pictures_is_for_each_kind() -> None:
    missed = [(i, "cat", HERE) for i in range(6)]
    false = [(0.9, (i, "cat", FAR)) for i in range(6, 12)]
    shifted = [(0.8, (i, "dog", (0.0, 0.0, 50.0, 20.0))) for i in range(12, 18)]
    moved = [(i, "dog", HERE) for i in range(12, 18)]
    found = evaluated([*missed, *moved], [*false, *shifted], pictures=20)
    shown = breakdown.worst_pictures(found, 0.5, most=6)
    assert [one.why for one in shown] == ["missed"] * 2 + ["false"] * 2 + ["badly placed"] * 2
    assert len({one.image for one in shown}) == 6


def test_what_other_kinds_leave_is_filled() -> None:
    """Of a detector that finds nothing, every picture has but one kind of mistake."""
    nothing = evaluated([(i, "cat", HERE) for i in range(9)], [], pictures=9)
    assert len(breakdown.worst_pictures(nothing, 0.5, most=6)) == 6


def test_a_flawless_picture_is_not_shown() -> None:
    assert not breakdown.worst_pictures(evaluated(OBJECTS[:1], FOUND[:1]), 0.5, most=24)
