"""Training sizes are a function of (seed, epoch, batch) in every process."""

from functools import partial

import numpy as np
import pytest

from detectors.data.augment.mosaic import Mosaic
from detectors.data.augment.transforms import (
    HorizontalFlip,
    Letterbox,
    Resize,
    ShorterEdge,
    Stretch,
)
from detectors.data.module import DetectionData
from detectors.data.multiscale import Multiscale
from detectors.data.sampling import EpochSampler
from detectors.data.sources.scenes import Layout, Look, Scenes

SIDES = [32, 64, 96]


def data(resize: Resize, **changed) -> DetectionData:
    layout = Layout(
        side=40, num_classes=3, objects=[1, 3], sizes=[0.2, 0.6], stretch=1.3, crowding=0.0,
        occlusion=0.3, truncation=0.1, imbalance=0.0,
    )  # fmt: skip
    look = Look(contrast=1.0, colour_cue=0.0, blur=0.0, brightness=1.0)
    reader = partial(Scenes, split="train", count=24, seed=0, layout=layout, look=look)
    settings = {"augment": {"flip": HorizontalFlip()}, "batch_size": 2, "num_workers": 0, "seed": 5}
    settings |= {"multiscale": Multiscale(SIDES, every=3), "mix": {"mosaic": Mosaic()}}
    return DetectionData(reader, reader, 3, resize, **(settings | changed))


def images(module: DetectionData, epoch: int = 2, start: int = 0) -> list[np.ndarray]:
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    loader.load_state_dict({"step": start})
    return [batch.images.numpy() for batch in loader]


@pytest.mark.parametrize("resize", [Letterbox(48), Stretch(48), ShorterEdge(48)])
def test_sides_stay_for_some_batches_and_all_occur(resize: Resize) -> None:
    seen = []
    for epoch in range(8):
        sides = [image.shape[-1] for image in images(data(resize), epoch)]
        assert len(sides) == 12
        assert all(len(set(sides[k : k + 3])) == 1 for k in range(0, 12, 3))
        seen += sides[::3]
    assert set(seen) == {resize.sized(side).canvas[1] for side in SIDES}


def test_batches_do_not_depend_on_workers_or_on_where_a_run_was_left() -> None:
    whole = images(data(Stretch(48)))
    for part in (images(data(Stretch(48), num_workers=2)), images(data(Stretch(48)), start=4)):
        for found, expected in zip(part[::-1], whole[::-1], strict=False):
            np.testing.assert_array_equal(found, expected)
    assert len(images(data(Stretch(48)), start=4)) == 8


def test_all_ranks_have_the_side_of_one_process() -> None:
    def sides(rank: int, world: int, batch: int) -> list[int]:
        sampler = EpochSampler(48, batch, 5, rank, world, Multiscale(SIDES, every=2))
        sampler.set_epoch(3)
        return [key[2] for key in sampler][::batch]

    assert sides(0, 2, 4) == sides(1, 2, 4) == sides(0, 1, 8)


def test_what_cannot_be_a_side_is_refused() -> None:
    with pytest.raises(ValueError, match=r"multiples of 32, .* found \[320, 330\]"):
        Multiscale([320, 330])
    with pytest.raises(ValueError, match="every >= 1, found 0"):
        Multiscale([320], every=0)


def test_validation_keeps_the_canvas() -> None:
    batch = next(iter(data(Stretch(48)).val_dataloader()))
    assert batch.images.shape[2:] == (48, 48)
