"""Repeat-factor sampling against the paper's formula, and the last epochs without mixes."""

from functools import partial

import numpy as np
import pytest

from detectors.data.augment.mosaic import Mosaic
from detectors.data.augment.transforms import HorizontalFlip, Stretch
from detectors.data.closing import Closing
from detectors.data.module import DetectionData
from detectors.data.repeat_factor import RepeatFactor, repeated
from detectors.data.sampling import EpochSampler
from detectors.data.sources.scenes import Layout, Look, Scenes
from detectors.data.sources.unlabelled import unannotated
from detectors.structures import Annotations


def annotations(pictures: list[list[int]], classes: int = 3) -> Annotations:
    """A picture for each list of labels."""
    labels = np.array([label for picture in pictures for label in picture], np.int64)
    none = np.zeros(len(labels), bool)
    return unannotated(np.full((len(pictures), 2), 10))._replace(
        offsets=np.cumsum([0, *map(len, pictures)]),
        labels=labels,
        crowd=none,
        difficult=none,
        classes=tuple("abc"[:classes]),
    )


PICTURES = [[0, 0], [0, 1], [0], [], [0, 2, 1], [0], [0], [0]]  # a in 7 of 8, b in 2, c in 1


def test_factors_are_those_of_the_paper() -> None:
    b, c = (0.5 / (2 / 8)) ** 0.5, (0.5 / (1 / 8)) ** 0.5
    np.testing.assert_allclose(
        RepeatFactor(0.5).factors(annotations(PICTURES)), [1, b, 1, 1, c, 1, 1, 1]
    )


def test_crowds_do_not_count() -> None:
    truth = annotations(PICTURES)
    truth.crowd[truth.labels == 2] = True
    assert RepeatFactor(0.2).threshold == 0.2
    with pytest.raises(ValueError, match=r"the rarest, b, is in 0.2500 of them; set .*found 0.2"):
        RepeatFactor(0.2).factors(truth)


def test_pictures_are_there_as_often_as_their_factors_say() -> None:
    factors = np.array([1.0, 2.4, 1.0, 1.7, 3.0, 1.25])
    counts = np.array([
        np.bincount(repeated(factors, 0, epoch) % 6, minlength=6) for epoch in range(800)
    ])  # fmt: skip
    assert (counts >= np.floor(factors)).all()
    assert (counts <= np.ceil(factors)).all()
    assert set(counts.sum(axis=1)) == {10, 11}
    np.testing.assert_allclose(counts.mean(axis=0), factors, atol=0.06)
    keys = repeated(factors, 0, 3)
    assert len(set(keys.tolist())) == len(keys)
    assert keys.max() < 4 * 6


def test_epochs_are_equal_on_all_ranks_and_go_on_where_they_were_left() -> None:
    factors = np.linspace(1, 3, 20)
    one = EpochSampler(20, 6, 5, factors=factors)
    ranks = [EpochSampler(20, 2, 5, rank, 3, factors=factors) for rank in range(3)]
    for sampler in (one, *ranks):
        sampler.set_epoch(4)
    expected = np.array(list(one)).reshape(6, 6, 2)
    assert len(one) == 36  # of 40
    shares = [np.array(list(sampler)).reshape(6, 2, 2) for sampler in ranks]
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), expected)
    one.start = 2
    np.testing.assert_array_equal(np.array(list(one)), expected[2:].reshape(-1, 2))


def data(**changed) -> DetectionData:
    layout = Layout(
        side=40, num_classes=3, objects=[1, 3], sizes=[0.2, 0.6], stretch=1.3, crowding=0.0,
        occlusion=0.3, truncation=0.1, imbalance=0.0,
    )  # fmt: skip
    look = Look(contrast=1.0, colour_cue=0.0, blur=0.0, brightness=1.0)
    reader = partial(Scenes, split="train", count=12, seed=0, layout=layout, look=look)
    settings = {"augment": {"flip": HorizontalFlip()}, "batch_size": 4, "num_workers": 0, "seed": 5}
    return DetectionData(reader, reader, 3, Stretch(32), **(settings | changed))


def images(module: DetectionData, epoch: int, start: int = 0) -> list[np.ndarray]:
    loader = module.train_dataloader()
    loader.sampler.set_epoch(epoch)
    loader.load_state_dict({"step": start})
    return [batch.images.numpy() for batch in loader]


def test_a_picture_that_comes_again_has_other_draws() -> None:
    dataset = data().train_dataloader().dataset
    flips = [(dataset[0, 3].image == dataset[0, 3 + 12 * k].image).all() for k in range(1, 12)]
    assert 1 < sum(flips) < 10
    assert {dataset[0, 3 + 12 * k].id for k in range(4)} == {dataset[0, 3].id}


def test_balance_makes_epochs_longer_and_leaves_the_first_views_alone() -> None:
    module = data(balance=RepeatFactor(1.0))
    assert len(module.train_dataloader()) > len(data().train_dataloader())


def test_the_last_epochs_have_no_mixes_also_after_a_restart() -> None:
    closed = data(mix={"mosaic": Mosaic(probability=1.0)}, closing=Closing(last=2, epochs=5))
    for epoch in range(5):
        like = data() if epoch >= 3 else data(mix={"mosaic": Mosaic(probability=1.0)})
        found, expected = images(closed, epoch), images(like, epoch)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_array_equal(images(closed, epoch, start=1), expected[1:])


@pytest.mark.parametrize(("last", "epochs"), [(0, 5), (5, 5), (1, None), (1, -1)])
def test_closing_needs_epochs_with_and_without(last: int, epochs: int | None) -> None:
    with pytest.raises(ValueError, match=r"set trainer.max_epochs above data.closing.last"):
        Closing(last, epochs)


def test_closing_without_a_mix_is_refused() -> None:
    with pytest.raises(ValueError, match=r"closing_mosaic ends the mixes of data.mix"):
        data(closing=Closing(1, 5))
