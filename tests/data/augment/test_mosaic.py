"""Mosaic equals a loop over pixels, keeps its rules for boxes, and draws its partners."""

from functools import partial

import numpy as np
import pytest

from detectors.data.augment.mosaic import Mosaic, mosaic
from detectors.data.augment.transforms import HorizontalFlip, Stretch
from detectors.data.dataset import DetectionDataset
from detectors.data.sources.scenes import Layout, Look, Scenes
from detectors.structures import Sample

HEIGHT, WIDTH = 20, 30


def sample(picture: int, boxes: list[list[float]] | None = None) -> Sample:
    """Each pixel tells its place and picture; three random boxes unless given."""
    rng = np.random.default_rng(picture)
    if boxes is None:
        corner = rng.uniform(0, 0.7, (3, 2)) * (WIDTH, HEIGHT)
        boxes = np.concatenate([corner, corner + rng.uniform(1, 9, (3, 2))], axis=1).tolist()
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    found = np.array(boxes, np.float32).reshape(-1, 4)
    return Sample(
        image=np.stack([rows, columns, np.full_like(rows, picture)], axis=-1).astype(np.uint8),
        boxes=found,
        labels=np.arange(len(found)) + 10 * picture,
        ignore=np.arange(len(found)) == 1,
        id=picture,
        to_original=np.array([1, 1, 0, 0], np.float32),
        frame=np.array([0, 0, WIDTH, HEIGHT], np.float32),
    )


def naive(samples: list[Sample], cut: tuple[int, int], touching: list[bool], rules: tuple) -> tuple:
    """(image, boxes, labels): pixel by pixel and object by object."""
    visible, smallest, most = rules
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    found = []
    for k, given in enumerate(samples):
        lower, right = k >= 2, k % 2 == 1
        down, across = 0, 0
        if touching[k]:
            down = cut[0] if lower else cut[0] - HEIGHT
            across = cut[1] if right else cut[1] - WIDTH
        for y in range(HEIGHT):
            for x in range(WIDTH):
                if (y >= cut[0]) == lower and (x >= cut[1]) == right:
                    image[y, x] = given.image[y - down, x - across]
        y0, y1 = (cut[0], HEIGHT) if lower else (0, cut[0])
        x0, x1 = (cut[1], WIDTH) if right else (0, cut[1])
        for box, label in zip(given.boxes, given.labels, strict=True):
            left, top, end, bottom = box + np.float32([across, down, across, down])
            cut_box = [
                min(max(left, x0), x1), min(max(top, y0), y1),
                min(max(end, x0), x1), min(max(bottom, y0), y1),
            ]  # fmt: skip
            w, h = cut_box[2] - cut_box[0], cut_box[3] - cut_box[1]
            part = w * h / ((end - left) * (bottom - top))
            if w > smallest and h > smallest and part >= visible:
                found.append((w * h, len(found), cut_box, label))
    kept = sorted(sorted(found, key=lambda row: (-row[0], row[1]))[:most], key=lambda row: row[1])
    return image, [row[2] for row in kept], [row[3] for row in kept]


@pytest.mark.parametrize("seed", range(30))
def test_equals_the_naive_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    samples = [sample(10 * seed % 200 + k) for k in range(4)]
    cut = rng.integers([4, 6], [17, 25])
    touching, rules = rng.random(4) < 0.5, (0.3, 1.0, 5)
    result = mosaic(samples, cut, touching, *rules)
    image, boxes, labels = naive(samples, cut.tolist(), touching.tolist(), rules)
    np.testing.assert_array_equal(result.image, image)
    np.testing.assert_allclose(result.boxes, np.array(boxes).reshape(-1, 4), atol=1e-5)
    assert result.labels.tolist() == labels
    assert len(result.ignore) == len(labels)
    assert result.boxes.dtype == np.float32


def test_a_mosaic_without_objects_is_empty() -> None:
    result = Mosaic()([sample(k, []) for k in range(4)], np.random.default_rng(0))
    assert result.boxes.shape == (0, 4)
    assert result.frame.tolist() == [0, 0, WIDTH, HEIGHT]
    assert np.isnan(result.to_original).all()


def test_numbers_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="low <= high"):
        Mosaic(low=0.8, high=0.2)


def dataset(mixes: dict) -> DetectionDataset:
    layout = Layout(
        side=40, num_classes=3, objects=[1, 3], sizes=[0.2, 0.6], stretch=1.3, crowding=0.0,
        occlusion=0.3, truncation=0.1, imbalance=0.0,
    )  # fmt: skip
    look = Look(contrast=1.0, colour_cue=0.0, blur=0.0, brightness=1.0)
    source = partial(Scenes, split="train", count=24, seed=0, layout=layout, look=look)()
    return DetectionDataset(source, {"flip": HorizontalFlip()}, Stretch(32), 7, mixes)


def test_a_sample_is_a_function_of_its_key() -> None:
    one, two = dataset({"mosaic": Mosaic()}), dataset({"mosaic": Mosaic()})
    for index in range(10):
        np.testing.assert_array_equal(one[3, index].image, two[3, index].image)
    assert any((one[3, k].image != one[4, k].image).any() for k in range(10))


def test_a_mosaic_that_does_not_happen_leaves_the_sample_as_it_was() -> None:
    plain, off, some = dataset({}), dataset({"mosaic": Mosaic(probability=0.0)}), Mosaic()
    mixed = dataset({"mosaic": some})
    kept = 0
    for index in range(24):
        np.testing.assert_array_equal(plain[1, index].image, off[1, index].image)
        kept += (plain[1, index].image == mixed[1, index].image).all()
    assert 4 < kept < 20
