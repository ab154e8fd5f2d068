"""What workers share of the pictures they have read is right, whoever writes at the same time."""

import multiprocessing
import pickle
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

from detectors.data.recent import Recent
from detectors.data.shared_recent import SharedRecent

SIZES = np.array([[4, 5]] * 50 + [[3, 4]] * 50)
FORK = multiprocessing.get_context("fork")


def picture(index: int) -> np.ndarray:
    return np.full((*SIZES[index], 3), index, np.uint8)


def seen(recent: SharedRecent, index: int) -> bool:
    """Whether it was kept; what is given is right in either case."""
    made: list[int] = []

    def make() -> np.ndarray:
        made.append(index)
        return picture(index)

    np.testing.assert_array_equal(recent.image(index, make), picture(index))
    return not made


def in_another(work, *given: object) -> None:
    process = FORK.Process(target=work, args=given)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def test_what_one_process_has_read_another_has_too() -> None:
    recent = SharedRecent(SIZES, 10, 2)
    in_another(lambda: [seen(recent, index) for index in (3, 60)])
    assert [seen(recent, index) for index in (3, 60, 4)] == [True, True, False]


def test_the_oldest_makes_room() -> None:
    recent = SharedRecent(SIZES, 3, 1)
    assert not any(seen(recent, index) for index in (7, 8, 9))
    assert all(seen(recent, index) for index in (7, 8, 9))
    assert not seen(recent, 10)
    assert [seen(recent, index) for index in (8, 9, 10, 7)] == [True, True, True, False]
    recent.forget()
    assert not seen(recent, 10)


def test_who_changes_a_picture_changes_no_other() -> None:
    recent = SharedRecent(SIZES, 3, 1)
    for _ in range(2):
        recent.image(5, lambda: picture(5))[:] = 0
    assert seen(recent, 5)


def test_it_takes_no_more_memory_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.data.shared_recent.MOST", 130)  # two pictures of the larger size
    recent = SharedRecent(SIZES, 100, 2)
    for index in range(5):
        seen(recent, index)
    assert [seen(recent, index) for index in (1, 2, 3, 4)] == [True] * 4
    monkeypatch.setattr("detectors.data.shared_recent.MOST", 59)
    nothing = SharedRecent(SIZES, 100, 1)
    assert [seen(nothing, 1), seen(nothing, 1)] == [False, False]


def test_a_large_picture_takes_no_room_from_many_small_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("detectors.data.shared_recent.MOST", 600)  # ten of 4 x 5, or a large one
    recent = SharedRecent(np.array([[4, 5]] * 20 + [[10, 20]]), 100, 1)
    large = partial(np.ones, (10, 20, 3), np.uint8)
    assert all((recent.image(20, large) == 1).all() for _ in range(2))
    assert [[seen(recent, index) for index in range(10)] for _ in range(2)] == [
        [False] * 10,
        [True] * 10,
    ]
    few = SharedRecent(np.array([[4, 5], [10, 20]]), 100, 1)
    few.image(1, large)
    assert (few.image(1, lambda: pytest.fail("read twice")) == 1).all()


def test_a_picture_of_another_size_than_it_should_have_is_no_other_picture() -> None:
    with pytest.raises(ValueError, match="could not broadcast"):
        SharedRecent(SIZES, 3, 1).image(0, lambda: np.ones((5, 4, 3), np.uint8))


def test_many_at_once_see_whole_pictures() -> None:
    """Few places, large pictures and three processes: what is copied is often written to."""
    sizes = np.full((40, 2), 200)
    recent = SharedRecent(sizes, 4, 3)

    def works(seed: int) -> None:
        draw = np.random.default_rng(seed)
        made: list[int] = []

        def large(index: int) -> np.ndarray:
            made.append(index)
            return np.full((200, 200, 3), 255 - index, np.uint8)

        for _ in range(3000):
            index = int(draw.integers(6))
            found = recent.image(index, partial(large, index))
            assert (found == 255 - index).all()
        assert 20 < len(made) < 2980

    processes = [FORK.Process(target=works, args=(seed,)) for seed in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]


@pytest.mark.parametrize("others", [(2,), (2, 1)])
def test_what_is_written_to_while_it_is_copied_is_read_anew(
    monkeypatch: pytest.MonkeyPatch, others: tuple[int, ...]
) -> None:
    """Also where the same picture comes back: the copy may be of what was there between."""
    recent = SharedRecent(SIZES, 1, 1)
    seen(recent, 1)
    locked, entered = recent._locked, []

    def late():
        """Another process takes the place between the two looks."""
        entered.append(1)
        if len(entered) == 2:
            monkeypatch.setattr(recent, "_locked", locked)
            for index in others:
                recent._keep(index, picture(index))
        return locked()

    monkeypatch.setattr(recent, "_locked", late)
    assert not seen(recent, 1)


def test_nobody_writes_where_another_one_still_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    recent = SharedRecent(SIZES, 1, 1)
    view, shown = recent._view, []

    def slow(place: int, index: int) -> np.ndarray:
        """Another process comes to the same place meanwhile."""
        monkeypatch.setattr(recent, "_view", view)
        recent._keep(2, picture(2))
        shown.append(recent._copied(2))
        return view(place, index)

    monkeypatch.setattr(recent, "_view", slow)
    assert not seen(recent, 1)
    assert shown == [None]
    assert seen(recent, 1)


def test_a_worker_that_dies_with_the_lock_stops_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("detectors.data.shared_recent._PATIENCE", 0.1)
    recent = SharedRecent(SIZES, 3, 2)
    seen(recent, 1)
    lock, waits = recent._lock, []
    in_another(lock.acquire)

    def acquire(timeout: float) -> bool:
        waits.append(timeout)
        return lock.acquire(timeout=timeout)

    monkeypatch.setattr(recent, "_lock", SimpleNamespace(acquire=acquire))
    assert [seen(recent, index) for index in (1, 1, 2)] == [False] * 3
    assert waits == [0.1]
    assert caplog.text.count("a worker reads for itself") == 1


def test_elsewhere_each_process_has_its_own() -> None:
    sent = pickle.loads(pickle.dumps(SharedRecent(SIZES, 3, 2)))
    assert isinstance(sent, Recent)
    np.testing.assert_array_equal(sent.sizes, SIZES)
