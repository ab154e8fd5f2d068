"""Reads numbers, flags and names as annotation files write them: 3, 3.0 and "3" are one number."""

import re
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Where = Callable[[int], str]  # names the place of the k-th value in the files

_WHOLE = re.compile(r"\s*[+-]?[0-9]+\s*")
_FLAGS = {"true": True, "false": False}


def whole_numbers(values: Sequence[Any], where: Where) -> np.ndarray:
    """[n] int64.

    Raises:
        ValueError: a value is no whole number, or too large; the message names its place.
    """
    found = _as_they_are(values, {int}, np.int64)
    if found is None:
        found = np.array(_read(values, where, _whole, "a whole number"), np.int64)
    return found


def numbers(values: Sequence[Any], where: Where) -> np.ndarray:
    """[n] float64; infinite ones and NaN are numbers here.

    Raises:
        ValueError: a value is no number; the message names its place.
    """
    found = _as_they_are(values, {int, float}, np.float64)
    if found is None:
        found = np.array(_read(values, where, _number, "a number"), np.float64)
    return found


def flags(values: Sequence[Any], where: Where) -> np.ndarray:
    """[n] bool of 0, 1, true and false.

    Raises:
        ValueError: a value is none of these; the message names its place.
    """
    return np.array(_read(values, where, _flag, "0 or 1, true or false"), bool)


def texts(values: Sequence[Any], where: Where) -> list[str]:
    """Each a text that is not blank; a number stands for its digits.

    Raises:
        ValueError: a value is neither; the message names its place.
    """
    return _read(values, where, _text, "text; put it in quotes")


def _as_they_are(values: Sequence[Any], kinds: set[type], dtype: type) -> np.ndarray | None:
    """The values at once where all have the types they should, as in most files; else None."""
    if not set(map(type, values)) <= kinds:
        return None
    try:
        return np.array(values, dtype)
    except OverflowError:
        return None


def _read(
    values: Sequence[Any], where: Where, read: Callable[[Any], Any], expected: str
) -> list[Any]:
    found = []
    for k, value in enumerate(values):
        try:
            found.append(read(value))
        except (TypeError, ValueError, OverflowError):
            told = "null" if value is None else reprlib.repr(value)
            raise ValueError(f"{where(k)} is {told}, expected {expected}") from None
    return found


def _whole(value: Any) -> int:
    if type(value) is int or (isinstance(value, str) and _WHOLE.fullmatch(value)):
        exact = int(value)
    else:
        number = _number(value)
        exact = int(number)
        if exact != number:
            raise ValueError
    if abs(exact) >= 2**63:
        raise OverflowError
    return exact


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    if isinstance(value, str) and "_" in value:  # float() passes over it: 2007_27 would be 200727
        raise ValueError
    return float(value)


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and (word := value.strip().lower()) in _FLAGS:
        return _FLAGS[word]
    number = _whole(value)
    if number not in (0, 1):
        raise ValueError
    return bool(number)


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise TypeError
    if not str(value).strip():
        raise ValueError
    return str(value)
