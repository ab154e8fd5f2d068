"""Variants of an experiment see the same pictures in the same order, with the same draws."""

from collections.abc import Callable
from itertools import islice
from typing import Any

import numpy as np
import pytest

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.config.overrides import changes
from detectors.config.paths import CONF
from detectors.data import dataset
from tests.tricks.bag import pair_of_words

OTHERS = ["augment=color"]  # flips and colours, whose draws shall stay
LONGER = {"class_balance"}  # its epoch is another one, as it says
FAST = {"mosaic"}
TRICKS = sorted(path.stem for path in (CONF / "trick").glob("*.yaml"))
FAMILY = "retinanet"  # any: data do not depend on it


@pytest.fixture
def draws(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[str]], tuple[list[int], set]]:
    """Pictures of the first batches of a run, in their order, and what it draws to make them."""

    def record(words: list[str]) -> tuple[list[int], set]:
        kept: set[tuple[Any, ...]] = set()
        monkeypatch.setattr(dataset, "generator", lambda *key: _kept(key, kept))
        loader = instantiate(compose(words), "data").train_dataloader()
        ids = [int(number) for batch in islice(loader, 4) for number in batch.ids]
        return ids, kept

    return record


def _kept(key: tuple, kept: set, make: Any = dataset.generator) -> np.random.Generator:
    """The generator of a key; it is written down with its first number."""
    kept.add((*key, float(make(*key).random())))
    return make(*key)


@pytest.mark.parametrize(
    "trick", [pytest.param(t, marks=[pytest.mark.slow] * (t not in FAST)) for t in TRICKS]
)
def test_a_trick_leaves_the_order_and_the_draws_of_the_others(trick: str, draws: Callable) -> None:
    on, off = ([*words, *OTHERS] for words in pair_of_words(trick, FAMILY))
    if not any(key.startswith(("data", "augment")) for key in changes(compose(on), compose(off))):
        return  # not even the batches change: test_on.py
    (ids, drawn), (expected, plain) = draws(on), draws(off)
    if trick not in LONGER:
        assert ids == expected
        assert plain <= drawn
    assert {key[3] for key in plain} >= {"flip", "color"}
