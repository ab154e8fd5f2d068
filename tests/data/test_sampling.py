"""Order of images: a function of (seed, epoch, step)."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from detectors.data.sampling import EpochSampler, ResumableLoader, ShareSampler


class Keys:
    """A data set that returns its key."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, key):
        return key


def epoch_of(sampler: EpochSampler, epoch: int) -> list[tuple[int, int]]:
    sampler.set_epoch(epoch)
    return list(sampler)


def loader(seed: int = 0, workers: int = 0) -> ResumableLoader:
    sampler = EpochSampler(22, 4, seed)
    return ResumableLoader(
        Keys(22),
        sampler=sampler,
        batch_size=4,
        drop_last=True,
        collate_fn=list,
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def test_an_epoch_is_a_shuffle_that_seed_and_epoch_decide() -> None:
    keys = epoch_of(EpochSampler(20, 4, seed=1), 3)
    assert sorted(index for _, index in keys) == list(range(20))
    assert {epoch for epoch, _ in keys} == {3}
    assert keys == epoch_of(EpochSampler(20, 4, seed=1), 3)
    order = [index for _, index in keys]
    assert order != [index for _, index in epoch_of(EpochSampler(20, 4, seed=1), 4)]
    assert order != [index for _, index in epoch_of(EpochSampler(20, 4, seed=2), 3)]


def test_ranks_together_see_the_batches_of_one_process() -> None:
    one = np.array(epoch_of(EpochSampler(50, 12, seed=0), 2)).reshape(4, 12, 2)
    ranks = [EpochSampler(50, 4, seed=0, rank=rank, world=3) for rank in range(3)]
    shares = [np.array(epoch_of(sampler, 2)).reshape(4, 4, 2) for sampler in ranks]
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), one)
    assert {len(sampler) for sampler in ranks} == {16}


def test_too_large_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"needs 24 training images, there are 20.*batch_size"):
        EpochSampler(20, 8, seed=0, world=3)


@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_shares_cover_everything_once(world) -> None:
    shares = [ShareSampler(5, rank, world) for rank in range(world)]
    assert sorted(index for share in shares for index in share) == list(range(5))
    assert [len(share) for share in shares] == [len(list(share)) for share in shares]


@pytest.mark.parametrize(("epoch", "start"), [(0, 0), (6, 0), (0, 2), (6, 2)])
@pytest.mark.parametrize("workers", [0, 2])
def test_what_began_before_the_iteration_changes_nothing(workers, epoch, start) -> None:
    """The epoch and the place in it may have changed since, as where a run is resumed."""
    plain, begun = loader(workers=workers), loader(workers=workers)
    begun.begin()
    assert bool(begun._ahead) == bool(workers)
    found = []
    for one in (plain, begun):
        torch.manual_seed(4)
        one.sampler.set_epoch(epoch)
        one.load_state_dict({"step": start})
        found.append(([*one, one.step, *one], torch.rand(())))
    assert found[0] == found[1]
    assert len(found[0][0]) == 5 - start + 1 + 5


def test_one_that_is_resumed_does_not_begin() -> None:
    """It would take the place where it was left from the iteration to come."""
    resumed = loader(workers=1)
    resumed.sampler.start = 3
    resumed.begin()
    assert resumed._ahead is None
    assert len(list(resumed)) == 2


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_goes_on_where_it_was_left(workers) -> None:
    whole, broken, resumed = loader(), loader(workers=workers), loader(workers=workers)
    whole.sampler.set_epoch(6)
    expected = list(whole)
    broken.sampler.set_epoch(6)
    batches = iter(broken)
    seen = [next(batches) for _ in range(2)]
    resumed.load_state_dict(broken.state_dict())
    resumed.sampler.set_epoch(6)
    assert seen + list(resumed) == expected
    whole.sampler.set_epoch(7)
    resumed.sampler.set_epoch(7)
    assert list(resumed) == list(whole)  # the next epoch is whole again
    assert len(resumed) == 5


def test_workers_that_live_on_see_the_new_epoch() -> None:
    persistent = loader(workers=1)
    epochs = []
    for epoch in range(2):
        persistent.sampler.set_epoch(epoch)
        epochs.append({key[0] for batch in persistent for key in batch})
    assert epochs == [{0}, {1}]


def test_a_finished_epoch_is_stored_as_a_new_start() -> None:
    finished = loader()
    list(finished)
    assert finished.state_dict() == {"step": 0}
    batches = iter(finished)
    for _ in range(5):
        next(batches)
    assert finished.state_dict() == {"step": 0}
    assert isinstance(finished, DataLoader)
