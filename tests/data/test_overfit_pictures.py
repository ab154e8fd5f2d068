"""`data.overfit` trains on a few pictures as they are, and validates on the same."""

import numpy as np
import pytest

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.data.module import DetectionData
from detectors.data.sources.first import First
from detectors.structures import Annotations

WORDS = ["image_size=64", "scenes.layout.side=64", "data.train.read.count=12", "data.num_workers=0"]


class Pictures:
    """Five pictures of 1 x 1 whose pixel is their number, with 2, 0, 1, 1 and 1 objects.

    The object of the third is a crowd.
    """

    annotations = Annotations(
        image_ids=np.arange(10, 15),
        sizes=np.array([[k + 1, 1] for k in range(5)]),
        offsets=np.array([0, 2, 2, 3, 4, 5]),
        boxes=np.arange(20.0).reshape(5, 4),
        labels=np.arange(5),
        crowd=np.array([False, False, True, False, False]),
        difficult=np.zeros(5, bool),
        areas=np.arange(5.0),
        classes=("a", "b", "c", "d", "e"),
        category_ids=(1, 2, 3, 4, 5),
    )

    def __len__(self) -> int:
        return 5

    def image(self, index: int) -> np.ndarray:
        return np.full((1, 1, 3), index, np.uint8)


def test_the_first_pictures_with_an_object_are_taken_with_their_objects() -> None:
    first = First(Pictures(), 2)
    truth = first.annotations
    assert truth.image_ids.tolist() == [10, 13]
    assert truth.offsets.tolist() == [0, 2, 3]
    assert truth.labels.tolist() == truth.areas.tolist() == [0, 1, 3]
    assert truth.boxes[:, 0].tolist() == [0, 4, 12]
    assert truth.sizes[:, 0].tolist() == [1, 4]
    assert [first.image(k)[0, 0, 0] for k in range(len(first))] == [0, 3]
    assert len(First(Pictures(), 99)) == 3


@pytest.fixture(scope="module")
def data() -> DetectionData:
    tricks = "trick=[mosaic,photometric,multiscale]"
    return instantiate(compose([*WORDS, tricks, "debug=overfit"]), "data")


def test_training_and_validation_are_the_same_pictures_as_they_are(data: DetectionData) -> None:
    validated = {
        int(id): image
        for batch in data.val_dataloader()
        for id, image in zip(batch.ids, batch.images, strict=True)
    }
    loader = data.train_dataloader()
    for epoch in (0, 1):
        loader.sampler.set_epoch(epoch)
        batches = list(loader)
        assert [len(batch.images) for batch in batches] == [4, 4]
        seen = {int(i): image for b in batches for i, image in zip(b.ids, b.images, strict=True)}
        assert seen.keys() == validated.keys()
        assert all(seen[i].equal(validated[i]) for i in seen)
