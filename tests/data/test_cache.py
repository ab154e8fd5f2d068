"""Cached pictures give the same samples, are stored once, and are refused if they do not fit."""

import multiprocessing
import os
from functools import partial

import numpy as np
import pytest

from detectors.data.augment.erasing import Cutout
from detectors.data.augment.mosaic import Mosaic
from detectors.data.augment.photometric import PhotometricDistortion
from detectors.data.augment.transforms import (
    HorizontalFlip,
    Letterbox,
    LetterboxCorner,
    ShorterEdge,
    Stretch,
    Translate,
)
from detectors.data.cache import Cache
from detectors.data.dataset import DetectionDataset, cached_sizes
from detectors.data.sources.scenes import Layout, Look, Scenes

FREE = {"flip": HorizontalFlip(), "distortion": PhotometricDistortion(), "cutout": Cutout()}
WINDOWED = {"shift": Translate(0.1), **FREE}


class Wide:
    """Generated scenes without their lowest rows, that counts how often they are read."""

    def __init__(self) -> None:
        layout = Layout(side=40, num_classes=3, objects=(1, 3), sizes=(0.2, 0.6))
        self.scenes = Scenes(split="train", count=8, seed=0, layout=layout, look=Look())
        truth = self.scenes.annotations
        boxes = truth.boxes.clip(0, [40, 29, 40, 29])
        self.annotations = truth._replace(sizes=truth.sizes - [11, 0], boxes=boxes)
        self.reads = 0

    def __len__(self) -> int:
        return len(self.scenes)

    def image(self, index: int) -> np.ndarray:
        self.reads += 1
        return np.ascontiguousarray(self.scenes.image(index)[:29])


@pytest.mark.parametrize("transforms", [{}, FREE, WINDOWED])
@pytest.mark.parametrize(
    "resize", [Stretch(32), Letterbox(32), LetterboxCorner(32), ShorterEdge(24)]
)
def test_samples_are_the_same_with_and_without(transforms: dict, resize) -> None:
    source = Wide()
    build = partial(DetectionDataset, source, transforms, resize, 3, {"mosaic": Mosaic()})
    cache = Cache(cached_sizes(source, transforms, resize, False), "pictures")
    plain, cached = build(), build(cache=cache)
    expected = [plain[epoch, index] for epoch in range(3) for index in range(8)]
    source.reads = 0
    found = [cached[epoch, index] for epoch in range(3) for index in range(8)]
    assert source.reads == 8
    for a, b in zip(expected, found, strict=True):
        for x, y in zip(a, b, strict=True):
            np.testing.assert_array_equal(x, y)


def test_changing_sides_hold_whole_pictures() -> None:
    source = Wide()
    cache = Cache(cached_sizes(source, FREE, Stretch(32), True), "pictures")
    plain = DetectionDataset(source, FREE, Stretch(32), 3)
    cached = DetectionDataset(source, FREE, Stretch(32), 3, cache=cache)
    for side in (32, 64):
        np.testing.assert_array_equal(plain[1, 2, side].image, cached[1, 2, side].image)
    assert source.reads == 3


def test_resizing_first_touches_the_picture_only() -> None:
    transforms = {"distortion": PhotometricDistortion(probability=1.0)}
    sample = DetectionDataset(Wide(), transforms, Letterbox(40), 3)[0, 1]
    assert (sample.image[:5] == 114).all()
    assert (sample.image[-5:] == 114).all()
    assert sample.frame.tolist() == [0, 5, 40, 34]


def test_what_a_worker_stores_is_there_for_all() -> None:
    cache = Cache(np.array([[4, 5], [6, 7]]), "pictures")
    worker = multiprocessing.get_context("fork").Process(
        target=lambda: cache.image(1, lambda: np.full((6, 7, 3), 9, np.uint8))
    )
    worker.start()
    worker.join(20)
    assert worker.exitcode == 0
    assert cache.stored.tolist() == [0, 1]
    found = cache.image(1, lambda: pytest.fail("read twice"))
    assert (found == 9).all()
    assert not found.flags.writeable


def test_too_many_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match=r"MB for the train pictures of .*data.cache=null"):
        Cache(np.full((2, 2), 10**6) * 1000, "train pictures")


def test_all_of_the_memory_is_taken_at_once() -> None:
    """So a second cache that does not fit beside the first is refused, not killed."""

    def free() -> int:
        place = os.statvfs("/dev/shm")
        return place.f_bavail * place.f_frsize

    before, size = free(), 3 * 4000 * 4000
    cache = Cache(np.array([[4000, 4000]]), "pictures")
    assert before - free() >= size / 2  # others may give some back meanwhile
    del cache
