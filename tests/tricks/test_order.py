"""Variants of an experiment see the same pictures in the same order, with the same draws."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.config.overrides import changes
from detectors.data import dataset
from detectors.random_streams import stream
from tests.tricks.bag import TRICKS, pair_of_words

OTHERS = ["augment=color"]  # flips and colours, whose draws shall stay
LONGER = "data.balance"  # what sets it makes an epoch another one, as it says
FAST = {"mosaic"}
FAMILY = "retinanet"  # any: data do not depend on it


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], tuple[list[int], set]]:
    """Pictures of the first batches of a run, in their order, and what it draws to make them."""

    def record(words: list[str]) -> tuple[list[int], set]:
        kept: set[tuple[Any, ...]] = set()
        monkeypatch.setattr(dataset, "stream", lambda *key, name: _kept((*key, name), kept))
        loader = instantiate(compose(words), "data").train_dataloader()
        ids = [int(number) for batch in islice(loader, 4) for number in batch.ids]
        return ids, kept

    return record


def _kept(key: tuple, kept: set) -> np.random.Generator:
    """The generator of a key and a name; it is written down with its first number."""
    *place, name = key
    kept.add((*key, float(stream(*place, name=name).random())))
    return stream(*place, name=name)


@pytest.mark.parametrize(
    "trick", [pytest.param(t, marks=[pytest.mark.slow] * (t not in FAST)) for t in TRICKS]
)
def test_a_trick_leaves_the_order_and_the_draws_of_the_others(trick: str, draws: Callable) -> None:
    on, off = ([*words, *OTHERS] for words in pair_of_words(trick, FAMILY))
    changed = changes(compose(on), compose(off))
    if not any(key.startswith(("data", "augment")) for key in changed):
        return  # not even the batches change: test_on.py
    (ids, drawn), (expected, plain) = draws(on), draws(off)
    if not any(key.startswith(LONGER) for key in changed):
        assert ids == expected
        assert plain <= drawn
    assert {key[3] for key in plain} >= {"flip", "color"}
