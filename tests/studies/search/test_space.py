"""A search file says what is varied in plain words; what makes no sense is refused in one line."""

import re
from typing import Any

import pytest

from detectors.studies.search.space import Range, read_search

SPACE = {"optimizer.lr": {"low": 1e-4, "high": 1e-2, "log": True}, "box_loss": ["l1", "giou"]}
PLAIN: dict[str, Any] = {"base": ["model=fcos"], "space": SPACE}


def test_words_are_those_that_a_study_would_say() -> None:
    search = read_search({**PLAIN, "base": ["model=fcos", "trick=[ema]"], "seed": 3}, "mine")
    assert search.name == "mine"
    assert search.words({"optimizer.lr": 0.001, "trick": "[mosaic]"}) == (
        "model=fcos",
        "trick=[ema,mosaic]",
        "optimizer.lr=0.001",
        "select=last",
        "seed=3",
    )


def test_choices_are_written_as_a_command_line_says_them() -> None:
    given = {"trick": [[], ["mosaic", "ema"]], "compile": [True, False], "a.b": [None, 0.5, 1]}
    space = read_search({**PLAIN, "space": given}).space
    assert space == {
        "trick": ("[]", "[mosaic,ema]"),
        "compile": ("true", "false"),
        "a.b": ("null", "0.5", "1"),
    }


def test_a_range_is_of_whole_numbers_where_all_of_it_is() -> None:
    assert Range(1, 8).whole
    assert Range(2, 8, step=2).whole
    assert not Range(1, 8.0).whole
    assert not Range(0, 1, step=0.5).whole


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"trails": 3}, "search has no key 'trails'. Did you mean 'trials'?"),
        ({"space": {}}, "search.space: found nothing"),
        ({"space": {"a": [1]}}, "search.space.a: found [1], expected two or more that differ"),
        ({"space": {"a": {"low": 2, "high": 1}}}, "expected low and a higher high"),
        ({"space": {"a": {"low": 0, "high": 1, "log": True}}}, "low above 0 and no step"),
        ({"space": {"a": {"low": "1e-4", "high": 1}}}, "search.space.a.low: found '1e-4'"),
        ({"metric": "APP"}, "search.metric: found 'APP'. Did you mean 'AP'?"),
        ({"prune": {"keep": 1}}, "search.prune.keep: found 1, expected 2 or more"),
        ({"base": ["split=test"]}, "a search measures on the validation pictures: leave it out"),
        ({"base": ["seed=3"]}, "which the search itself decides: say seed: in the search"),
        ({"base": ["box_loss=l1"]}, "box_loss=l1 of the base is varied by the space: leave one"),
        ({"space": {"seed": [1, 2]}}, "which the search itself decides"),
    ],
)
def test_mistakes_are_told(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        read_search({**PLAIN, **change})
