"""Padding to buckets."""

import mmap
import multiprocessing
import pickle
import platform
import resource

import numpy as np
import pytest
import torch

from detectors.data.collate import bucket, collated, parcel
from detectors.data.loading import Loader, _end_workers, begin_worker, loader_arguments
from detectors.engine.memory import memory_told
from detectors.structures import LabelledImages, Sample


def sample(count: int, key: int) -> Sample:
    rng = np.random.default_rng(key)
    return Sample(
        image=rng.integers(0, 255, (6, 8, 3), np.uint8),
        boxes=rng.random((count, 4)).astype(np.float32),
        labels=rng.integers(0, 5, count),
        ignore=rng.random(count) < 0.5,
        id=key,
        to_original=np.array([1, 2, 3, key], np.float32),
        frame=np.array([0, 0, 8, 6], np.float32),
    )


@pytest.mark.parametrize(
    ("count", "rows"), [(0, 8), (8, 8), (9, 16), (16, 16), (33, 64), (300, 512)]
)
def test_the_smallest_sufficient_bucket(count, rows) -> None:
    assert bucket(count, 8) == rows


def test_real_rows_are_the_samples_and_the_rest_is_invalid() -> None:
    samples = [sample(3, 0), sample(0, 1), sample(11, 2)]
    batch = collated(samples)
    assert batch.images.shape == (3, 3, 6, 8)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.targets.boxes.shape == (3, 16, 4)
    assert batch.targets.valid.sum(1).tolist() == [3, 0, 11]
    assert batch.ids.tolist() == [0, 1, 2]
    for k, one in enumerate(samples):
        count = len(one.labels)
        np.testing.assert_array_equal(batch.images[k].permute(1, 2, 0), one.image)
        np.testing.assert_array_equal(batch.targets.boxes[k, :count], one.boxes)
        np.testing.assert_array_equal(batch.targets.labels[k, :count], one.labels)
        np.testing.assert_array_equal(batch.targets.ignore[k, :count], one.ignore)
        assert not batch.targets.valid[k, count:].any()
        assert not batch.targets.ignore[k, count:].any()


def test_a_parcel_arrives_as_the_batch_and_can_be_written_to() -> None:
    samples = [sample(3, 0), sample(0, 1), sample(11, 2)]
    sent, expected = (
        pickle.dumps(parcel(collated, samples), pickle.HIGHEST_PROTOCOL),
        collated(samples),
    )
    arrived = pickle.loads(sent)
    assert type(arrived) is type(expected)
    torch.testing.assert_close(arrived, expected, rtol=0, atol=0)
    arrived.targets.boxes.add_(1)
    torch.testing.assert_close(arrived.targets.boxes, expected.targets.boxes + 1)


def test_a_batch_without_boxes_arrives_too() -> None:
    batch = LabelledImages(torch.zeros(2, 3, 4, 4), torch.tensor([1, 2]), torch.tensor([5]))
    arrived = pickle.loads(pickle.dumps(parcel(lambda given: given, batch)))
    assert type(arrived) is LabelledImages
    torch.testing.assert_close(arrived, batch, rtol=0, atol=0)


def test_a_worker_tells_that_shared_memory_does_not_suffice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread of its queue would drop the batch, and who waits for it would wait for ever."""

    def full(_: torch.Tensor) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("detectors.data.shared_memory._written", full)
    samples = [sample(1, key) for key in range(2)]
    loader = Loader(samples, **loader_arguments(2, 1, collated), timeout=60)
    others = set(multiprocessing.active_children())
    told = r"0\.0 MB more were needed for a batch.*data\.num_workers=0.*--shm-size"
    with pytest.raises(OSError, match=told), memory_told():
        next(iter(loader))
    assert set(multiprocessing.active_children()) <= others


OPENED: list[Loader] = []  # kept, as a trainer keeps its loaders, so that Python has to end them


def opened() -> None:
    OPENED.append(Loader([sample(1, key) for key in range(2)], **loader_arguments(1, 1, collated)))
    next(iter(OPENED[-1]))


def test_workers_have_ended_when_python_would_wait_for_them() -> None:
    opened()
    (worker,) = OPENED[-1]._iterator._workers
    assert worker.is_alive()
    _end_workers()
    assert not worker.is_alive()
    OPENED.clear()


def test_a_process_that_another_has_started_ends_its_workers() -> None:
    """It runs no functions of atexit, and would send each one a SIGTERM that is not heeded."""
    process = multiprocessing.get_context("fork").Process(target=opened)
    process.start()
    process.join(20)
    ended = process.exitcode
    process.kill()
    assert ended == 0


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_a_worker_uses_its_memory_again() -> None:
    """Counted by the pages that the system has to clear."""

    def faults() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(10):
            [np.ones(2**20, np.uint8) for _ in range(48)]
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    def works() -> None:
        begin_worker(0)
        faults()
        assert faults() < 10 * 48 * 2**20 / mmap.PAGESIZE / 100

    process = multiprocessing.get_context("fork").Process(target=works)
    process.start()
    process.join(20)
    assert process.exitcode == 0


def test_a_worker_that_dies_as_it_hands_over_a_batch_is_told() -> None:
    class Dying(list):
        def __getitem__(self, index):
            raise ConnectionResetError(104, "Connection reset by peer")

    loader = Loader(Dying([1, 2]), batch_size=1)
    with pytest.raises(RuntimeError, match="a worker process ended while it handed over a batch"):
        next(iter(loader))
