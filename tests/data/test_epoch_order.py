"""Partners of a mix come from a block of the epoch's order, the same whoever prepares a sample."""

import copy

import numpy as np
import pytest

from detectors.data.augment.mosaic import Mosaic
from detectors.data.augment.transforms import HorizontalFlip, Stretch, Translate
from detectors.data.dataset import DetectionDataset, cached_sizes
from detectors.data.epoch_order import EpochOrder, Neighbours
from detectors.data.recent import Recent
from detectors.data.sources.scenes import Layout, Look, Scenes
from detectors.structures import Sample

FREE = {"flip": HorizontalFlip()}
WINDOWED = {"shift": Translate(0.1), **FREE}


@pytest.mark.parametrize("count", [1, 5, 8, 9, 20, 23, 24])
def test_blocks_cut_the_order_into_pieces(count: int) -> None:
    order = EpochOrder(count, seed=1)
    near = Neighbours(order, 8)
    keys, cuts = order.keys(4), [k for k in range(0, count, 8) if count - k >= 8 or k == 0]
    for place, key in enumerate(keys.tolist()):
        start = max(cut for cut in cuts if cut <= place)
        end = min((cut for cut in cuts if cut > place), default=count)
        assert near.bounds(4, key) == (start, end)
        drawn = near.drawn(np.random.default_rng(key), 4, key, 50)
        assert set(drawn) <= set(keys[start:end].tolist())


def test_all_pictures_of_a_block_are_partners_and_other_epochs_have_other_blocks() -> None:
    order = EpochOrder(64, seed=1)
    near = Neighbours(order, 16)
    first = set(near.drawn(np.random.default_rng(0), 0, 5, 300))
    assert len(first) == 16
    assert first != set(near.drawn(np.random.default_rng(0), 1, 5, 300))


def test_a_picture_that_comes_again_is_a_partner_as_often() -> None:
    factors = np.array([3.0, 1.0, 1.0, 1.0])
    near = Neighbours(EpochOrder(4, 2, factors), 6)
    drawn = near.drawn(np.random.default_rng(0), 0, 8, 6000)  # key 8: picture 0, the third time
    assert np.bincount(drawn)[0] / 6000 == pytest.approx(0.5, abs=0.03)


class Counted:
    """Scenes that count how often they are read."""

    def __init__(self, count: int) -> None:
        layout = Layout(side=24, num_classes=2, objects=(1, 2), sizes=(0.3, 0.6))
        self.scenes = Scenes(split="train", count=count, seed=0, layout=layout, look=Look())
        self.annotations = self.scenes.annotations
        self.reads = 0

    def __len__(self) -> int:
        return len(self.scenes)

    def image(self, index: int) -> np.ndarray:
        self.reads += 1
        return self.scenes.image(index)


def built(source: Counted, transforms: dict, block: int = 16, recent: bool = True):
    near = Neighbours(EpochOrder(len(source), 5), block)
    sizes = cached_sizes(source, transforms, Stretch(16), False)
    mixes = {"mosaic": Mosaic(probability=1.0)}
    kept = Recent(sizes) if recent else None
    data = DetectionDataset(source, transforms, Stretch(16), 5, mixes, None, kept, None, near)
    return data, near.order.keys(0).tolist()


def equal(one: Sample, other: Sample) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("transforms", [{}, FREE, WINDOWED])
@pytest.mark.parametrize("limit", [0, 3000, 2**20])
def test_samples_do_not_depend_on_what_a_worker_remembers(
    transforms: dict, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detectors.data.recent.MOST", limit)
    remembering, order = built(Counted(40), transforms)
    plain, _ = built(Counted(40), transforms, recent=False)
    for key in [*order[::3], *order[:4], order[-1]]:
        equal(remembering[0, key], plain[0, key])


@pytest.mark.parametrize(("workers", "expected"), [(1, 1.0), (2, 1.78), (4, 2.59)])
def test_pictures_decoded_for_a_mosaic(workers: int, expected: float) -> None:
    """One worker decodes each picture of an epoch once; without a memory it would be four times."""
    source = Counted(256)
    data, order = built(source, FREE, block=64)
    for worker in range(workers):
        mine = copy.copy(data)
        mine.cache = Recent(data.cache.sizes)
        for start in range(16 * worker, 256, 16 * workers):
            for key in order[start : start + 16]:
                mine[0, key]
    assert source.reads / 256 == pytest.approx(expected, rel=0.03)


def test_a_memory_keeps_one_block_and_no_more_than_its_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("detectors.data.recent.MOST", 3 * 48)
    recent, made = Recent(np.full((9, 2), 4)), []

    def picture(k: int) -> np.ndarray:
        return recent.image(k, lambda: made.append(k) or np.full((4, 4, 3), k, np.uint8))

    recent.begin("a")
    for k in (0, 1, 2, 3, 0, 2, 3):
        assert (picture(k) == k).all()
    assert made == [0, 1, 2, 3, 3]
    recent.begin("a")
    picture(0)
    recent.begin("b")
    picture(0)
    assert made[5:] == [0]
    with pytest.raises(ValueError, match="read-only"):
        picture(0)[0] = 1
