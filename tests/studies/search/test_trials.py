"""What is tried next follows from seed, number and what was found, whatever was killed between."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from detectors.studies.search.space import Search, read_search
from detectors.studies.search.trials import Trials, luck, rungs
from tests.studies.search.database import quick_database  # noqa: F401

pytest.importorskip("optuna")
pytestmark = pytest.mark.usefixtures("quick_database")
SEARCH = read_search(
    {
        "space": {
            "optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True},
            "part.tower.depth": {"low": 1, "high": 4},
            "box_loss": ["l1", "giou", "ciou"],
        },
        "startup": 2,
        "prune": {"first": 1, "keep": 2},
    },
    "mine",
)


def found(values: Mapping[str, Any]) -> float:
    """What training with these values would find."""
    best = values["box_loss"] == "giou"
    return 0.5 + 0.2 * best - 0.1 * abs(math.log10(values["optimizer.lr"]) + 3)


def tried(folder: Path, search: Search, count: int, killed: bool = False) -> list[dict[str, Any]]:
    """The values of so many trials; `killed`: others end them than those that asked for them."""
    folder.mkdir(exist_ok=True)
    trials = Trials(search, folder, threads=1)
    for _ in range(count):
        trial = trials.ask()
        if killed:
            trials = Trials(search, folder, threads=1)
            (trial,) = trials.open()
        trials.complete(trial, found(trial.params))
    return [dict(ended.values) for ended in trials.all()]


def test_a_search_that_is_killed_after_each_trial_tries_the_same(tmp_path: Path) -> None:
    plain = tried(tmp_path / "plain", SEARCH, 4)
    assert tried(tmp_path / "killed", SEARCH, 4, killed=True) == plain
    assert len({str(values) for values in plain}) == 4
    assert all(1e-4 <= v["optimizer.lr"] <= 1e-2 and 1 <= v["part.tower.depth"] <= 4 for v in plain)


def test_a_trial_that_is_half_asked_for_gets_the_values_it_would_have_had(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    trials = Trials(SEARCH, tmp_path / "half", threads=1)
    whole = tried(tmp_path / "whole", SEARCH, 1)[0]
    half = trials.study.ask()
    trials.study.sampler = trials._sampler(0, "optimizer.lr")
    half.suggest_float("optimizer.lr", 1e-4, 1e-2, log=True)
    (trial,) = Trials(SEARCH, tmp_path / "half", threads=1).open()
    assert trial.params == whole


def test_another_search_in_the_folder_is_refused(tmp_path: Path) -> None:
    Trials(replace(SEARCH, seed=5), tmp_path, threads=1)  # of which nothing was tried
    Trials(SEARCH, tmp_path, threads=1).ask()
    Trials(replace(SEARCH, trials=99), tmp_path, threads=1)
    with pytest.raises(ValueError, match="a search with seed 0, and this one has 1"):
        Trials(replace(SEARCH, seed=1), tmp_path, threads=1)
    with pytest.raises(ValueError, match="a search with threads 1, and this one has 2"):
        Trials(SEARCH, tmp_path, threads=2)


def test_the_better_half_goes_on_after_each_rung(tmp_path: Path) -> None:
    trials = Trials(SEARCH, tmp_path, threads=1)
    curves = [[0.1, 0.2, 0.3], [0.05, 0.9], [0.1, 0.3, 0.1], [0.2, 0.1], [0.12, 0.4]]
    told = [trials.report(trials.ask(), dict(enumerate(curve, 1))) for curve in curves]
    assert told == [
        "",
        "not among the best 1 of 2 after epoch 1",
        "",  # a tie goes on
        "not among the best 1 of 3 after epoch 2",
        "",  # the second of five, and the best of its rung
    ]
    assert [len(ended.epochs) for ended in trials.all()] == [3, 1, 3, 2, 2]


def test_a_rung_without_a_validation_is_asked_at_the_next_one(tmp_path: Path) -> None:
    trials = Trials(replace(SEARCH, prune={"first": 1, "keep": 3}), tmp_path, threads=1)
    first, second, third = trials.ask(), trials.ask(), trials.ask()
    assert trials.report(first, {5: 0.5, 10: 0.6}) == ""
    assert trials.report(second, {5: 0.1}) == "not among the best 1 of 2 after epoch 5"
    assert trials.report(third, {10: 0.7, 12: 0.1}) == ""  # between 10 and 12 lies no rung


def test_an_epoch_is_judged_once(tmp_path: Path) -> None:
    trials = Trials(SEARCH, tmp_path, threads=1)
    first, second = trials.ask(), trials.ask()
    assert trials.report(first, {1: 0.1}) == ""
    assert trials.report(second, {1: 0.9}) == ""
    assert trials.report(first, {1: 0.1}) == ""


def test_without_pruning_all_go_on(tmp_path: Path) -> None:
    trials = Trials(replace(SEARCH, prune=None), tmp_path, threads=1)
    assert [trials.report(trials.ask(), {1: value}) for value in (0.9, 0.1)] == ["", ""]


def test_rungs_lie_in_a_geometric_row() -> None:
    assert list(rungs(2, 3, 20)) == [2, 6, 18]
    assert list(rungs(2, 3, 1)) == []


def test_the_best_is_the_first_of_equals_and_complete(tmp_path: Path) -> None:
    trials = Trials(SEARCH, tmp_path, threads=1)
    assert trials.best() is None
    for value in (0.2, 0.5, 0.5):
        trials.complete(trials.ask(), value)
    pruned, failed = trials.ask(), trials.ask()
    trials.report(pruned, {1: 0.9})
    trials.stop(pruned, "why")
    trials.fail(failed, "broken")
    best = trials.best()
    assert best is not None
    assert best.number == 1
    assert [(t.state, t.reason) for t in trials.all()[3:]] == [
        ("pruned", "why"),
        ("failed", "broken"),
    ]


def test_the_luck_of_the_best_is_that_of_order_statistics() -> None:
    """Of two and three draws: 1/sqrt(pi) and 3/(2 sqrt(pi)); of twenty, Harter 1961, table 1."""
    assert luck(1) == pytest.approx(0, abs=1e-6)
    assert luck(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-6)
    assert luck(3) == pytest.approx(1.5 / math.sqrt(math.pi), abs=1e-6)
    assert luck(20) == pytest.approx(1.86748, abs=1e-5)
