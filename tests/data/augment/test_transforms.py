"""Transforms keep picture, boxes, frame and the way back consistent."""

import albumentations
import numpy as np
import pytest

from detectors.data.augment.albumentation import Albumentation
from detectors.data.augment.transforms import (
    FILL,
    HorizontalFlip,
    Letterbox,
    LetterboxCorner,
    ScaleJitter,
    ShorterEdge,
    Stretch,
    Translate,
    resized,
    window,
)
from detectors.structures import Sample

BOXES = np.array([[4, 6, 24, 26], [40, 10, 60, 30], [0, 0, 80, 48]], np.float32)


def sample(height: int = 48, width: int = 80, boxes: np.ndarray = BOXES) -> Sample:
    """A black picture, the first box painted white."""
    image = np.zeros((height, width, 3), np.uint8)
    x0, y0, x1, y1 = boxes[0].astype(int)
    image[y0:y1, x0:x1] = 255
    return Sample(
        image=image,
        boxes=boxes,
        labels=np.arange(len(boxes)),
        ignore=np.zeros(len(boxes), bool),
        id=5,
        to_original=np.array([1, 1, 0, 0], np.float32),
        frame=np.array([0, 0, width, height], np.float32),
    )


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def original(result: Sample, boxes: np.ndarray) -> np.ndarray:
    scale, shift = result.to_original[:2], result.to_original[2:]
    corners = boxes.reshape(-1, 2, 2) * scale + shift
    return np.concatenate([corners.min(1), corners.max(1)], axis=1)


def painted(result: Sample) -> np.ndarray:
    """xyxy of the white pixels."""
    rows, columns = np.nonzero(result.image[:, :, 0] > 180)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_letterbox_by_hand() -> None:
    """48 x 80 on 100 x 100: scale 1.25 gives 60 x 100, 20 rows of grey above and below."""
    result = Letterbox(100)(sample())
    assert result.image.shape == (100, 100, 3)
    assert result.frame.tolist() == [0, 20, 100, 80]
    np.testing.assert_allclose(result.boxes[0], [5, 27.5, 30, 52.5])
    np.testing.assert_allclose(result.to_original, [0.8, 0.8, 0, -16], rtol=1e-6)
    assert (result.image[:20] == FILL).all()
    assert (result.image[80:] == FILL).all()


def test_stretch_by_hand() -> None:
    result = Stretch([24, 160])(sample())
    assert result.image.shape == (24, 160, 3)
    assert result.frame.tolist() == [0, 0, 160, 24]
    np.testing.assert_allclose(result.boxes[0], [8, 3, 48, 13])
    np.testing.assert_allclose(result.to_original, [0.5, 2, 0, 0])


def test_letterbox_in_the_corner_by_hand() -> None:
    """48 x 80 on 70 x 70: scale 0.875 gives 42 x 70; YOLOX cuts 61 x 80 at 0.875 to 53 x 70."""
    result = LetterboxCorner(70)(sample())
    assert result.frame.tolist() == [0, 0, 70, 42]
    assert (result.image[42:] == FILL).all()
    np.testing.assert_allclose(
        result.boxes[0], 0.7 * Letterbox(100)(sample()).boxes[0] - [0, 14] * 2
    )
    assert LetterboxCorner(70).picture_size(61, 80) == (53, 70)


@pytest.mark.parametrize(
    "resize",
    [
        Letterbox([64, 96]),
        Letterbox(32),
        LetterboxCorner([64, 96]),
        Stretch(40),
        Stretch([96, 64]),
        ShorterEdge(40),
    ],
)
@pytest.mark.parametrize("size", [(48, 80), (80, 61), (33, 97), (64, 96)])
def test_resizes_lead_back_to_the_original(resize, size) -> None:
    before = sample(*size, BOXES[:1])
    result = resize(before)
    np.testing.assert_allclose(original(result, result.boxes), before.boxes, atol=1e-4)
    height, width = size
    np.testing.assert_allclose(original(result, result.frame), [[0, 0, width, height]], atol=1e-4)
    np.testing.assert_allclose(painted(result), result.boxes[0], atol=1.01)
    assert result.image.shape[:2] == resize.canvas
    x0, y0, x1, y1 = result.frame
    assert (y1 - y0, x1 - x0) == resize.picture_size(*size)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((480, 640), (800, 1067)), ((640, 480), (1067, 800)), ((300, 640), (625, 1333)),
     ((500, 500), (800, 800))],
)  # fmt: skip
def test_the_shorter_edge_decides_unless_the_longer_is_too_long(size, expected) -> None:
    """Detectron's 800 and 1333."""
    resize = ShorterEdge(800)
    assert resize.picture_size(*size) == expected
    assert resize.canvas == (1344, 1344)
    assert ShorterEdge(600).longest == 1000


def test_flip_by_hand_and_twice_is_nothing() -> None:
    flip = HorizontalFlip(1.0)
    once = flip(sample(), rng())
    np.testing.assert_array_equal(once.boxes[0], [56, 6, 76, 26])
    np.testing.assert_array_equal(painted(once), once.boxes[0])
    twice = flip(once, rng())
    for before, after in zip(sample(), twice, strict=True):
        np.testing.assert_array_equal(before, after)


def test_flip_happens_with_its_probability() -> None:
    flip = HorizontalFlip(0.3)
    flipped = [flip(sample(), rng(seed)).to_original[0] < 0 for seed in range(400)]
    assert 0.22 < np.mean(flipped) < 0.38
    assert HorizontalFlip(0.0)(sample(), rng()).to_original[0] == 1


@pytest.mark.parametrize("transform", [ScaleJitter(0.4, 2.5), Translate(0.4), HorizontalFlip()])
@pytest.mark.parametrize("seed", range(8))
def test_windows_keep_pixels_boxes_and_the_way_back_together(transform, seed) -> None:
    result = Letterbox(100)(transform(sample(), rng(seed)))
    back = original(result, result.boxes)
    expected = BOXES[result.labels]
    inside = original(result, result.frame[None])[0]
    clipped = np.clip(expected, inside[[0, 1, 0, 1]], inside[[2, 3, 2, 3]])
    np.testing.assert_allclose(back, clipped, atol=1e-3)
    if 0 in result.labels:
        np.testing.assert_allclose(painted(result), result.boxes[0], atol=1.51)
    grey = np.ones((100, 100), bool)
    x0, y0, x1, y1 = np.rint(result.frame).astype(int)
    grey[max(y0 - 1, 0) : y1 + 1, max(x0 - 1, 0) : x1 + 1] = False
    assert (result.image[grey] == FILL).all()


def test_a_window_drops_what_shows_less_than_the_visible_part() -> None:
    """Of box 0 (20 x 20 at 4, 6) the window from x = 14 shows half."""
    kept = window(sample(), 0, 14, 48, 66, visible=0.5)
    assert kept.labels.tolist() == [0, 1, 2]
    np.testing.assert_array_equal(kept.boxes[0], [0, 6, 10, 26])
    assert window(sample(), 0, 15, 48, 65, visible=0.5).labels.tolist() == [1, 2]


def test_a_window_without_objects_is_a_sample_without_objects() -> None:
    result = window(sample(boxes=BOXES[:2]), 40, 70, 8, 10, visible=0.25)
    assert result.boxes.shape == (0, 4)
    assert Letterbox(32)(result).boxes.shape == (0, 4)


def test_scale_jitter_covers_its_range() -> None:
    """At scale 2 the window shows half of each side; at 0.5 the picture fills half of it."""
    jittered = [ScaleJitter(0.5, 2.0)(sample(), rng(seed)) for seed in range(200)]
    heights = [result.image.shape[0] for result in jittered]
    filled = [(result.frame[3] - result.frame[1]) / result.image.shape[0] for result in jittered]
    assert (min(heights), max(heights)) == (24, 48)
    assert (min(filled), max(filled)) == (0.5, 1.0)


def test_albumentations_draw_from_the_generator_alone() -> None:
    jitter = Albumentation(albumentations.ColorJitter(0.5, 0.5, 0.5, 0.1, p=1))
    picture = rng(9).integers(0, 255, (20, 30, 3), np.uint8)
    before = sample()._replace(image=picture)
    first = jitter(before, rng(1)).image
    other = jitter(before, rng(2)).image
    np.testing.assert_array_equal(jitter(before, rng(1)).image, first)
    assert (first != other).any()
    assert (before.image == picture).all()


def test_albumentations_that_move_boxes_keep_labels_with_them() -> None:
    boxes = np.concatenate([BOXES, [[70, 40, 80.00001, 48.00001]]]).astype(np.float32)
    flip = Albumentation(albumentations.HorizontalFlip(p=1))
    result = flip(sample(boxes=boxes), rng())
    ours = HorizontalFlip(1.0)(sample(boxes=boxes), rng())
    np.testing.assert_array_equal(result.image, ours.image)
    np.testing.assert_allclose(result.boxes, ours.boxes, atol=1e-4)
    np.testing.assert_array_equal(result.labels, ours.labels)
    crop = Albumentation(albumentations.Crop(30, 0, 80, 48), visible=0.5)(sample(), rng())
    assert crop.labels.tolist() == [1, 2]
    assert crop.frame.tolist() == [0, 0, 50, 48]


def test_impossible_settings_are_refused() -> None:
    for wrong in (
        lambda: HorizontalFlip(1.5),
        lambda: ScaleJitter(2, 1),
        lambda: Translate(0.1, visible=0),
        lambda: Letterbox(0),
        lambda: Letterbox("abc"),
        lambda: Letterbox([1, 2, 3]),
        lambda: ShorterEdge([800, 1333]),
    ):
        with pytest.raises(ValueError, match="found"):
            wrong()


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_a_smaller_picture_stands_for_all_pixels(factor: int) -> None:
    """At a half by its four nearest pixels, below by the mean of an area."""
    image = rng().integers(0, 256, (12 * factor, 20 * factor, 3), dtype=np.uint8)
    blocks = image.reshape(12, factor, 20, factor, 3).mean((1, 3))
    assert np.abs(resized(image, 12, 20) - blocks).max() <= 0.6  # rounding


def test_between_a_half_and_the_whole_it_is_linear_between_pixel_middles() -> None:
    ramp = np.repeat(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], 3, axis=2)
    image = np.repeat(ramp, 6, axis=0)
    middles = (np.arange(80) + 0.5) * 1.5 - 0.5
    assert np.abs(resized(image, 4, 80)[1, :, 0] - 2 * middles).max() <= 0.6
