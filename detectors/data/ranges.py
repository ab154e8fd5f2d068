"""Checks that the numbers given to data and augmentation lie in their ranges."""

import math
from collections.abc import Sequence
from typing import Any

from detectors.ranges import Within

Rule = tuple[bool, str]  # whether it is kept, and what was expected and found


def check(name: str, *rules: Rule) -> None:
    """Refuses numbers that are out of their range.

    Args:
        name: of the part that they are given to.
        rules: one for each number; see the functions below.

    Raises:
        ValueError: the first rule that is broken, with what was expected and found.
    """
    for kept, expected in rules:
        if not kept:
            raise ValueError(f"{name}: expected {expected}")


def finite(value: Any) -> bool:
    """Whether it is a number at all, and not NaN or infinite."""
    real = isinstance(value, (int, float)) and not isinstance(value, bool)
    return real and math.isfinite(value)


def within(word: str, value: float, interval: str) -> Rule:
    """A number in an interval written as usual: "[0, 1)" leaves out the 1."""
    kept = finite(value) and value in Within(interval)
    return kept, f"{word} in {interval}, found {value}"


def at_least(word: str, value: float, least: float) -> Rule:
    """A number that is no smaller than another."""
    return finite(value) and value >= least, f"{word} >= {least}, found {value}"


def above(word: str, value: float, limit: float) -> Rule:
    """A number that is greater than another."""
    return finite(value) and value > limit, f"{word} > {limit}, found {value}"


def whole(word: str, value: int, least: int) -> Rule:
    """A whole number that is no smaller than another."""
    kept = finite(value) and isinstance(value, int) and value >= least
    return kept, f"a whole number {word} >= {least}, found {value}"


def chance(probability: float) -> Rule:
    """A probability that something happens."""
    return within("probability", probability, "[0, 1]")


def showing(visible: float) -> Rule:
    """The least part of an object that shows."""
    return within("visible", visible, "(0, 1]")


def number(most: int) -> Rule:
    """The most objects that are kept."""
    return whole("most", most, 1)


def factors(word: str, pair: Sequence[float]) -> Rule:
    """The range of a factor, its lower end first."""
    rising = len(pair) == 2 and 0 < pair[0] <= pair[1]
    return rising, f"{word} of two factors above 0, rising, found {list(pair)}"
