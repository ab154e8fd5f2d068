"""HOG: the numbers of OpenCV's descriptor and people detector, and of plain loops."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from detectors.fitted.hog import Hog, apart, objects
from detectors.fitted.hog_descriptor import angles, block_map, descriptor, filter_of
from detectors.fitted.hog_windows import SeenWindows, WindowShape, margin_map, seen, window
from detectors.fitted.svm import Machine
from detectors.ops.numpy_boxes import iou
from detectors.structures import Sample
from tests.fitted.works import sample, work


@pytest.fixture(scope="session")
def opencv(data_root: Path) -> Path:
    """Folder with what OpenCV 4.12 finds in eight pictures."""
    return data_root / "opencv"


@pytest.fixture(scope="session")
def oracle(opencv: Path) -> dict[str, Any]:
    return json.loads((opencv / "oracle.json").read_text())


def picture(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB"))


def test_descriptors_are_those_of_opencv(opencv: Path, oracle: dict[str, Any]) -> None:
    assert len(oracle["hog"]) == 3
    for name, numbers in oracle["hog"].items():
        found = descriptor(block_map(picture(opencv / name)[:128, :64]))
        assert found.shape == (3780,)
        assert np.abs(found - numbers).max() < 2e-6  # of the order of float32 sums


def test_windows_and_weights_of_people_are_those_of_opencv(
    opencv: Path, oracle: dict[str, Any]
) -> None:
    people = Hog(
        *(1, 1.1, 0, 0.0, 0),
        weights=str(opencv / "people_detector.npy"),
    )
    assert people.described() == {"windows": "64 x 128", "numbers": "3,781"}
    assert sum(map(len, oracle["people"].values())) == 3
    for name, expected in oracle["people"].items():
        found = people.scan(picture(opencv / name))
        margins = np.log(found.scores / (1 - found.scores.astype(float)))
        sides = found.boxes[:, 2:] - found.boxes[:, :2]
        rows = np.column_stack([np.rint(found.boxes[:, :2]), np.rint(sides), margins])
        assert rows.shape == (len(expected), 5)
        np.testing.assert_allclose(rows, np.array(expected).reshape(-1, 5), atol=5e-4)


def test_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "some.npy", np.zeros(1981))
    with pytest.raises(ValueError, match="expected 3781 numbers for 1 class, found 1981 for 1"):
        Hog(1, weights=str(tmp_path / "some.npy"))
    np.save(tmp_path / "some.npy", np.zeros(3781))
    with pytest.raises(ValueError, match="found 3781 for 2"):
        Hog(2, weights=str(tmp_path / "some.npy"))
    with torch.device("meta"):
        assert "36 for each block" in str(Hog(1, weights=str(tmp_path / "some.npy")).described())


def by_loops(image: np.ndarray) -> np.ndarray:
    """The descriptor of a picture, pixel by pixel and in doubles."""
    height, width = image.shape[:2]
    roots = np.sqrt(image.astype(float))

    def at(y: int, x: int) -> np.ndarray:  # mirrored at the border pixels
        y, x = abs(y), abs(x)
        y, x = (
            (2 * (height - 1) - y if y >= height else y),
            (2 * (width - 1) - x if x >= width else x),
        )
        return roots[y, x]

    blocks = np.zeros((height // 8 - 1, width // 8 - 1, 2, 2, 9))
    for y in range(height):
        for x in range(width):
            across, down = at(y, x + 1) - at(y, x - 1), at(y + 1, x) - at(y - 1, x)
            best = max(range(3), key=lambda c: across[c] ** 2 + down[c] ** 2)
            length = math.hypot(across[best], down[best])
            turn = float(angles(np.float32(across[best])[None], np.float32(down[best])[None])[0])
            place = turn * 9 / math.pi - 0.5
            low, share = math.floor(place), place - math.floor(place)
            for row in range(blocks.shape[0]):
                for column in range(blocks.shape[1]):
                    i, j = y - 8 * row, x - 8 * column
                    if 0 <= i < 16 and 0 <= j < 16:
                        near = math.exp(-((i - 8) ** 2 + (j - 8) ** 2) / 32)
                        for cy in range(2):
                            for cx in range(2):
                                down_share = max(0.0, 1 - abs((i + 0.5) / 8 - 0.5 - cy))
                                across_share = max(0.0, 1 - abs((j + 0.5) / 8 - 0.5 - cx))
                                vote = length * near * down_share * across_share
                                cell = blocks[row, column, cx, cy]
                                cell[low % 9] += vote * (1 - share)
                                cell[(low + 1) % 9] += vote * share
    numbers = []
    for column in range(blocks.shape[1]):
        for row in range(blocks.shape[0]):
            v = blocks[row, column].reshape(-1)
            v = v / (math.sqrt(sum(v * v)) + 3.6)
            v = np.minimum(v, 0.2)
            numbers.extend(v / (math.sqrt(sum(v * v)) + 1e-3))
    return np.array(numbers)


@pytest.mark.parametrize("size", [(24, 32), (16, 16), (29, 21)])
def test_descriptors_are_those_of_a_loop(size: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    whole = image.copy()
    image[:8] = 90  # without a gradient
    for given in (whole, image):
        found = descriptor(block_map(given))
        np.testing.assert_allclose(found, by_loops(given), atol=2e-6)


def test_a_picture_without_a_gradient_is_zero() -> None:
    assert not block_map(np.full((32, 40, 3), 77, np.uint8)).any()


@pytest.mark.parametrize("size", [(8, 40), (15, 15), (40, 7)])
def test_a_picture_smaller_than_a_block_has_none(size: tuple[int, int]) -> None:
    assert block_map(np.zeros((*size, 3), np.uint8)).size == 0


def test_angles_are_near_the_true_ones() -> None:
    turn = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    found = angles(np.cos(turn).astype(np.float32), np.sin(turn).astype(np.float32))
    assert np.abs(found - turn).max() < 5e-3
    assert angles(np.zeros(1, np.float32), np.zeros(1, np.float32)) == 0


def test_margins_of_a_map_are_those_of_each_window_alone() -> None:
    draw = np.random.default_rng(0)
    blocks = draw.random((6, 7, 36), np.float32)
    shape = WindowShape(4, 3, 0)
    machine = Machine(draw.standard_normal(shape.numbers).astype(np.float32), 0.25, True)
    found = margin_map(blocks, shape, machine)
    assert found.shape == (4, 6)
    for row in range(4):
        for column in range(6):
            numbers = descriptor(window(blocks, np.array([row, column]), shape))
            expected = machine.margins(numbers[None])[0]
            assert found[row, column] == pytest.approx(expected, abs=1e-4)
    assert margin_map(blocks[:2], shape, machine).size == 0
    assert filter_of(machine.weights, 4, 3).shape == (3, 2, 36)


def test_windows_on_a_level_say_where_they_lie() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    shape = WindowShape(4, 3, 4)
    machine = Machine(np.zeros(shape.numbers, np.float32), 0.5, True)
    found = [one for _, one in seen(image, [None, (shape, machine)], 1.5, 8, 0.0)]
    # Levels of 60 x 50, 40 x 33, 27 x 22 with 8 mirrored pixels on each side; 18 x 15 has 34 x 31.
    assert [len(one.margins) for one in found] == [6 * 6, 4 * 4, 2 * 2, 1 * 1]
    assert found[0].boxes[0].tolist() == [-4, -4, 12, 20]
    assert found[0].boxes[-1].tolist() == [36, 36, 52, 60]
    np.testing.assert_allclose(found[1].boxes[0], [-6, -6, 18, 30])


def test_the_window_of_a_box_has_it_inside() -> None:
    shape = WindowShape(8, 6, 8)  # 64 x 48 pixels, 48 x 32 of them inside
    boxes = np.array([[10.0, 20, 74, 116], [0, 0, 16, 24], [5, 5, 53, 37]])
    around = shape.around(boxes)
    scale = (around[:, 2] - around[:, 0]) / 48
    np.testing.assert_allclose(scale, [2, 0.5, 1])
    for window_of, own, box in zip(around, scale, boxes, strict=True):
        inner = shape.inside(window_of[None, :2], own)[0]
        np.testing.assert_allclose((inner[2:] - inner[:2]).prod(), (box[2:] - box[:2]).prod())
        np.testing.assert_allclose(inner[2:] + inner[:2], box[2:] + box[:2])
    np.testing.assert_allclose(shape.inside(around[:1, :2], 2.0), boxes[:1])


def crosses(count: int) -> list[Sample]:
    """Grey noise with a bright upright bar (class 0) and a lying one (class 2); none of class 1."""
    draw = np.random.default_rng(0)
    found = []
    for number in range(count):
        image = draw.integers(90, 110, (120, 140, 3), dtype=np.uint8)
        x, y = draw.integers(10, 20, 2)
        image[y : y + 60, x : x + 24] = 220
        image[y + 70 : y + 90, x + 40 : x + 90] = 220
        boxes = [[x, y, x + 24, y + 60], [x + 40, y + 70, x + 90, y + 90]]
        found.append(sample(image, boxes, [0, 2], number))
    return found


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Hog, list[dict[str, float]]]:
    """A model of the bars, and what its stages say."""
    pytest.importorskip("sklearn")
    model = Hog(3, margin=8, padding=8, least=512, hard=5, negatives=4)
    given = work(crosses(6), ("upright", "absent", "lying"), tmp_path_factory.mktemp("stages"))
    told = []
    for stage in model.stages:
        told.append(dict(model.fit(stage, given)))
        model.done += 1
    return model, told


def test_the_stages_say_what_they_did(fitted: tuple[Hog, list[dict[str, float]]]) -> None:
    model, (windows, first, hard) = fitted
    assert (windows["objects"], windows["absent classes"]) == (12, 1)
    upright, absent, lying = model.shapes()
    assert absent is None
    assert upright is not None
    assert lying is not None
    assert (upright.rows > upright.columns, lying.rows < lying.columns) == (True, True)
    assert (first["positives"], hard["positives"]) == (24, 24)  # with their mirror images
    assert hard["negatives"] == first["negatives"] + hard["hard"]
    assert hard["wrong"] < 0.05


def test_it_finds_what_it_was_fitted_to(fitted: tuple[Hog, list[dict[str, float]]]) -> None:
    model, _ = fitted
    for one in crosses(2):
        found = model.scan(one.image)
        assert found.boxes.dtype == found.scores.dtype == np.float32
        assert set(found.labels.tolist()) <= {0, 2}
        for label, box in zip(one.labels, one.boxes, strict=True):
            mine = np.where(found.labels == label, found.scores, 0)
            best = found.boxes[mine.argmax()]
            assert np.abs(best - box).max() < 14, (label, best, box)


def test_a_picture_too_small_for_a_window_has_none(
    fitted: tuple[Hog, list[dict[str, float]]],
) -> None:
    found = fitted[0].scan(np.zeros((5, 5, 3), np.uint8))
    assert found.boxes.shape == (0, 4)


def test_negatives_lie_beside_the_objects_of_the_class() -> None:
    model = Hog(2, negatives=5)
    one = crosses(1)[0]
    shape = WindowShape(6, 5, 8)
    drawn = model._beside(one, 0, shape, np.random.default_rng(0))
    assert len(drawn) == 5
    for box in drawn:
        scale = (box[2] - box[0]) / 40
        assert scale >= 1
        assert (box >= 0).all()
        assert (box[2:] <= (140, 120)).all()
        assert model._free(one, 0, shape.inside(box[None, :2], scale))[0]
    assert model._beside(one, 0, WindowShape(20, 5, 8), np.random.default_rng(0)) == []


def test_ignored_and_empty_objects_are_not_learnt() -> None:
    one = sample(
        np.zeros((9, 9, 3), np.uint8), [[0, 0, 5, 5], [1, 1, 1.2, 5], [2, 2, 4, 4]], [0] * 3, 0
    )
    one = one._replace(ignore=np.array([False, False, True]))
    assert objects(one, 0).tolist() == [[0, 0, 5, 5]]


def test_the_best_of_equal_margins_are_the_first() -> None:
    found = SeenWindows(
        np.arange(12.0).reshape(3, 4), np.array([1, 2, 1.0]), np.zeros((3, 2), int), None
    )  # type: ignore[arg-type]
    assert found.best(2).boxes[:, 0].tolist() == [4, 0]


@pytest.mark.parametrize("count", [0, 1, 30])
def test_false_windows_lie_apart_as_in_a_loop(count: int) -> None:
    draw = np.random.default_rng(count)
    corners = draw.integers(0, 30, (count, 2)).astype(float)
    boxes = np.concatenate([corners, corners + draw.integers(10, 30, (count, 2))], 1)
    margins = draw.integers(0, 6, count).astype(np.float32)  # with ties
    kept: list[int] = []
    for row in sorted(range(count), key=lambda n: (-margins[n], n)):
        if all(iou(boxes[row], boxes[other]) <= 0.5 for other in kept):
            kept.append(row)
    assert apart(boxes, margins, 100).tolist() == kept
    assert apart(boxes, margins, 3).tolist() == kept[:3]


def test_a_stage_begins_with_what_those_before_it_kept(
    fitted: tuple[Hog, list[dict[str, float]]], tmp_path: Path
) -> None:
    """So a run that was stopped ends as one that was not."""
    whole, told = fitted
    words = {"margin": 8, "padding": 8, "least": 512, "hard": 5, "negatives": 4}
    first, second = Hog(3, **words), Hog(3, **words)  # type: ignore[arg-type]
    given = work(crosses(6), ("upright", "absent", "lying"), tmp_path)
    for stage in ("windows", "first"):
        first.fit(stage, given)
        first.done += 1
    second.load_state_dict(first.state_dict())
    assert second.fit("hard", given) == told[-1]
    for name, value in whole.state_dict().items():
        if name != "done":
            assert second.state_dict()[name].equal(value), name


def test_windows_of_all_levels_and_classes_are_found(
    fitted: tuple[Hog, list[dict[str, float]]],
) -> None:
    """Those that the scan gives are those of each level by itself, whatever others there are."""
    model, image = fitted[0], crosses(1)[0].image
    expected = []
    for label, found in seen(image, model.asked(), model.ratio, model.padding, model.threshold):
        expected += [(label, *box) for box in found.boxes.astype(np.float32).tolist()]
    found = model.scan(image)
    rows = zip(found.labels.tolist(), found.boxes.tolist(), strict=True)
    assert sorted((label, *box) for label, box in rows) == sorted(expected)
    assert found.scores.min() >= 1 / (1 + math.exp(1)) - 1e-6


def test_why_there_is_no_negative_window_is_told(tmp_path: Path) -> None:
    """A canvas smaller than the window has another remedy than pictures full of objects."""
    image = np.random.default_rng(0).integers(0, 256, (60, 200, 3), dtype=np.uint8)
    high = [sample(image, [[10, 0, 30, 60]], [0], n) for n in range(2)]
    crowd = np.array([False, True])
    full = [
        sample(image, [[10, 10, 40, 40], [0, 0, 200, 60]], [0, 0], n)._replace(ignore=crowd)
        for n in range(2)
    ]
    for scenes, remedy in (
        (high, "give a larger image_size, or a smaller part.fitted.most"),
        (full, "give more pictures, or a larger part.fitted.overlap"),
    ):
        model = Hog(1, margin=8)
        model.fit("windows", work(scenes, ("bar",), tmp_path))
        with pytest.raises(ValueError, match=remedy):
            model.fit("first", work(scenes, ("bar",), tmp_path))
