"""Pictures have boxes in the right places, change no input, and survive odd inputs."""

import numpy as np
import pytest
import torch
from PIL import Image

from detectors.structures import Batch, Detections, Targets
from detectors.visualization.pictures import contact_sheet, drawn, side_by_side

CLASSES = ("cell", "platelet")


def grey(height: int = 120, width: int = 160) -> np.ndarray:
    return np.full((height, width, 3), 128, dtype=np.uint8)


def changed(picture: Image.Image, image: np.ndarray) -> np.ndarray:
    return (np.asarray(picture) != image).any(axis=-1)


def batch(side: int, frame: tuple[int, int, int, int], ignore: bool = False) -> Batch:
    """One grey image with an object from (40, 40) to (80, 80)."""
    return Batch(
        images=torch.full((1, 3, side, side), 128, dtype=torch.uint8),
        targets=Targets(
            boxes=torch.tensor([[[40.0, 40, 80, 80], [0, 0, 0, 0]]]),
            labels=torch.zeros(1, 2, dtype=torch.int64),
            valid=torch.tensor([[True, False]]),
            ignore=torch.tensor([[ignore, False]]),
        ),
        frames=torch.tensor([frame], dtype=torch.float32),
        to_original=torch.tensor([[1.0, 1, 0, 0]]),
        ids=torch.zeros(1, dtype=torch.int64),
    )


def detections(score: float) -> Detections:
    return Detections(
        boxes=torch.tensor([[[45.0, 45, 85, 85], [0, 0, 10, 10]]]),
        scores=torch.tensor([[score, 0.9]]),
        labels=torch.ones(1, 2, dtype=torch.int64),
        valid=torch.tensor([[True, False]]),
    )


def test_a_box_is_drawn_on_its_border_and_nowhere_inside():
    image = grey()
    picture = drawn(image, np.array([[20.0, 50, 150, 110]]), np.array([0]), CLASSES)
    touched = changed(picture, image)
    assert touched[110, 20:151].all()
    assert touched[50:111, 20].all()
    assert not touched[60:105, 30:140].any()
    assert (image == 128).all()


def test_labels_and_scores_are_written():
    image, boxes = grey(), np.array([[20.0, 50, 150, 110]])
    bare = drawn(image, boxes, np.array([0]), CLASSES)
    scored = drawn(image, boxes, np.array([0]), CLASSES, np.array([0.5]))
    assert changed(bare, np.asarray(scored)).any()


def test_the_most_certain_box_lies_on_top():
    boxes = np.array([[20.0, 50, 100, 110], [20, 50, 100, 110]])
    both = drawn(grey(), boxes, np.array([0, 1]), CLASSES, np.array([0.9, 0.3]))
    alone = drawn(grey(), boxes[:1], np.array([0]), CLASSES, np.array([0.9]))
    assert np.array_equal(np.asarray(both)[110], np.asarray(alone)[110])


@pytest.mark.parametrize("box", [[-30, -30, 10, 10], [150, 100, 400, 300], [5, 0, 6, 0]])
def test_boxes_beyond_the_border_are_drawn_as_far_as_they_go(box):
    picture = drawn(grey(), np.array([box], dtype=float), np.array([1]), CLASSES)
    assert picture.size == (160, 120)
    assert changed(picture, grey()).any()


def test_no_box_leaves_the_image_as_it_is():
    picture = drawn(grey(), np.zeros((0, 4)), np.zeros(0, dtype=int), CLASSES, np.zeros(0))
    assert not changed(picture, grey()).any()


def test_truth_is_left_and_detections_above_the_threshold_are_right():
    frame = (0, 0, 480, 480)
    nothing = np.asarray(side_by_side(batch(480, frame), detections(0.1), 0, CLASSES))
    something = np.asarray(side_by_side(batch(480, frame), detections(0.8), 0, CLASSES))
    differs = (nothing != something).any(axis=(0, 2))
    assert differs[480:].any()
    assert not differs[:480].any()


def test_the_fill_is_cut_off_and_small_pictures_are_enlarged():
    wide = side_by_side(batch(640, (0, 80, 640, 560)), detections(0.8), 0, CLASSES)
    small = side_by_side(batch(100, (0, 0, 100, 100)), detections(0.8), 0, CLASSES)
    assert wide.width == 2 * (640 + 6)
    assert wide.height < 480 + 40
    assert small.width == 2 * (500 + 6)


def test_enlarging_moves_the_boxes_along():
    small = np.asarray(side_by_side(batch(120, (0, 0, 120, 120)), detections(0.8), 0, CLASSES))
    below_title = small.shape[0] - 6 - 480
    assert (small[below_title + 320, 160:320] != 128).any(axis=-1).all()


def test_ignored_objects_are_grey():
    pictures = [
        np.asarray(side_by_side(batch(480, (0, 0, 480, 480), ignore), detections(0), 0, CLASSES))
        for ignore in (False, True)
    ]
    colourful = [np.ptp(picture.astype(int), axis=-1).max() for picture in pictures]
    assert colourful[0] > 100
    assert colourful[1] == 0


def test_a_contact_sheet_holds_every_image_once():
    images = [np.full((20, 30, 3), value, dtype=np.uint8) for value in (10, 20, 30)]
    sheet = np.asarray(contact_sheet(images, columns=2))
    assert sheet.shape == (52, 72, 3)
    assert [(sheet[..., 0] == value).sum() for value in (10, 20, 30)] == [600, 600, 600]


def test_an_empty_contact_sheet_is_refused():
    with pytest.raises(ValueError, match="0 images"):
        contact_sheet([], 3)
