"""SSD's augmentation worked by hand and checked over many draws."""

import numpy as np
import pytest

from detectors.data.augment.photometric import PhotometricDistortion
from detectors.data.augment.ssd_crop import Expand, IoUCrop
from detectors.structures import Sample

MEAN = (123, 117, 104)


def _sample(boxes: list[list[float]], height: int = 40, width: int = 60) -> Sample:
    """Each pixel tells its place."""
    rows, columns = np.mgrid[:height, :width]
    image = np.stack([rows, columns, np.full_like(rows, 7)], axis=-1).astype(np.uint8)
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(
        image=image,
        boxes=found,
        labels=np.arange(len(found)),
        ignore=np.zeros(len(found), bool),
        id=1,
        to_original=np.array([1, 1, 0, 0], np.float32),
        frame=np.array([0, 0, width, height], np.float32),
    )


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


@pytest.mark.parametrize("seed", range(20))
def test_expand_lays_the_picture_whole_on_the_mean(seed: int) -> None:
    before = _sample([[5, 5, 25, 30], [40, 0, 60, 40]])
    after = Expand(4.0, MEAN, probability=1.0)(before, _rng(seed))
    height, width = after.image.shape[:2]
    assert 40 <= height <= 160
    assert abs(width / height - 1.5) < 0.05
    x1, y1, x2, y2 = after.frame.astype(int)
    np.testing.assert_array_equal(after.image[y1:y2, x1:x2], before.image)
    outside = np.ones((height, width), bool)
    outside[y1:y2, x1:x2] = False
    assert (after.image[outside] == MEAN).all()
    np.testing.assert_allclose(after.boxes - [x1, y1, x1, y1], before.boxes)
    np.testing.assert_allclose(after.to_original, [1, 1, -x1, -y1])


def test_expand_happens_with_its_probability() -> None:
    before = _sample([])
    happened = [Expand(4.0, MEAN, 0.3)(before, _rng(seed)) is not before for seed in range(400)]
    assert 0.22 < np.mean(happened) < 0.38


@pytest.mark.parametrize("least", [0.1, 0.5, 0.9])
def test_a_patch_overlaps_some_object_enough(least: float) -> None:
    before = _sample([[5, 5, 55, 37], [40, 2, 58, 20]])
    crop = IoUCrop(overlaps=[least])
    cut = 0
    for seed in range(100):
        after = crop(before, _rng(seed))
        if after is before:
            continue
        cut += 1
        x, y = -after.to_original[2:] * -1
        height, width = after.image.shape[:2]
        np.testing.assert_array_equal(after.image[0, 0], [y, x, 7])
        shares = []
        for x1, y1, x2, y2 in before.boxes:
            shared = max(min(x2, x + width) - max(x1, x), 0) * max(
                min(y2, y + height) - max(y1, y), 0
            )
            shares.append(shared / ((x2 - x1) * (y2 - y1) + height * width - shared))
        assert max(shares) >= least
        center = (before.boxes[:, :2] + before.boxes[:, 2:]) / 2 - [x, y]
        inside = ((center >= 0) & (center <= [width, height])).all(1)
        np.testing.assert_array_equal(after.labels, np.flatnonzero(inside))
        expected = np.clip(before.boxes - [x, y, x, y], 0, [width, height, width, height])
        np.testing.assert_allclose(after.boxes, expected[inside])
    assert 0 < cut < 70  # at most as often as the whole picture


def test_patches_have_the_sides_and_shapes_of_the_rule() -> None:
    patches = IoUCrop()._patches(1000, 1000, _rng(0)).reshape(-1, 4)
    width, height = (patches[:, 2:] - patches[:, :2]).T
    scale, ratio = np.sqrt(width * height) / 1000, width / height
    assert scale.min() > 0.295
    assert scale.max() <= 1
    assert ratio.min() > 0.49
    assert ratio.max() < 2.04
    # a patch as large as scale allows stays inside: ratio within scale squared
    assert (np.minimum(ratio, 1 / ratio) > scale**2 - 0.01).all()
    assert (patches >= 0).all()
    assert (patches <= 1000).all()


def test_a_picture_without_objects_stays_whole() -> None:
    before = _sample([])
    assert all(IoUCrop()(before, _rng(seed)) is before for seed in range(10))


def test_distortion_by_hand() -> None:
    """Grey has no colour to change: 100 + 16 = 116 and 116 * 1.25 = 145."""
    grey = _sample([])._replace(image=np.full((2, 2, 3), 100, np.uint8))

    class Drawn:
        def uniform(self, low: float, high: float, count: int) -> np.ndarray:
            return np.full(count, 0.5)

        def random(self, count: int | None = None) -> np.ndarray:
            return np.zeros(count or ())

    after = PhotometricDistortion()(grey, Drawn())  # type: ignore[arg-type]
    assert (after.image == 145).all()


def test_distortion_moves_hue_and_saturation() -> None:
    red = _sample([])._replace(image=np.full((1, 1, 3), (200, 100, 100), np.uint8))
    hue = [
        PhotometricDistortion(0, 0, 0, 18, probability=1.0)(red, _rng(seed)).image[0, 0]
        for seed in range(50)
    ]
    assert all(colour.max() == 200 and abs(int(colour.min()) - 100) <= 1 for colour in hue)
    assert max(colour[1] for colour in hue) > 145  # towards yellow, 36 degrees at most
    assert max(colour[2] for colour in hue) > 145  # towards purple
    part = [
        PhotometricDistortion(0, 0, 0.5, 0, probability=1.0)(red, _rng(seed)).image[0, 0]
        for seed in range(50)
    ]
    assert min(colour[1] for colour in part) < 60
    assert max(colour[1] for colour in part) > 140


def test_distortion_is_a_function_of_the_generator_and_leaves_the_original() -> None:
    before = _sample([])
    image = before.image.copy()
    first, again = (PhotometricDistortion()(before, _rng(3)).image for _ in range(2))
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(before.image, image)
