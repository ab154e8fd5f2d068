"""Compares values of a config with the annotations of the parameters that take them."""

import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from enum import Enum
from typing import Annotated, Any, Literal, Union

from detectors.config.spelling import did_you_mean
from detectors.ranges import Within

_SCALARS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_ANYTHING = (Any, object, inspect.Parameter.empty)
_LISTS = (list, tuple, set, frozenset, Sequence, Collection, Iterable)


def check_value(place: str, value: Any, annotation: Any) -> None:
    """Refuse a value that the annotation of its parameter does not allow.

    A whole number is allowed for a float, and a node with a `_target_` for any type that is not
    plain. What the annotation does not say is not checked.

    Args:
        place: the key in the config.
        value: plain containers and scalars.

    Raises:
        ValueError: names the place, the value and what was expected.
    """
    if not fits(value, annotation):
        near = did_you_mean(value, _literals(annotation)) if isinstance(value, str) else ""
        raise ValueError(f"{place}: found {_shown(value)}, expected {described(annotation)}.{near}")


def fits(value: Any, annotation: Any) -> bool:
    """Whether a value of a config may be given where the annotation stands."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation in _ANYTHING:
        return True
    if origin is Annotated:
        inside = (value in bound for bound in arguments[1:] if isinstance(bound, Within))
        return fits(value, arguments[0]) and all(inside)
    if origin in (Union, types.UnionType):
        return any(fits(value, one) for one in arguments)
    if origin is Literal:
        return any(value == one and type(value) is type(one) for one in arguments)
    if annotation in (None, type(None)):
        return value is None
    if annotation in _SCALARS:
        return _scalar(value, annotation)
    if is_node(value):
        return True
    kind = origin or annotation
    if kind in _LISTS:
        return isinstance(value, list) and _items_fit(value, kind, arguments)
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return isinstance(value, Mapping) and _values_fit(value, arguments)
    if kind is Callable:
        return False
    return not _named(kind) or (isinstance(value, str) and issubclass(kind, (os.PathLike, Enum)))


def is_node(value: Any) -> bool:
    """Whether it is a node that some object is made of."""
    return isinstance(value, Mapping) and "_target_" in value


def described(annotation: Any) -> str:
    """What may be given for an annotation, in words."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        bounds = "".join(f" in {one.interval}" for one in arguments[1:] if isinstance(one, Within))
        return described(arguments[0]) + bounds
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(described, arguments)))
    if origin is Literal:
        return f"one of {', '.join(map(str, arguments))}"
    if annotation in (None, type(None)):
        return "null"
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    kind = origin or annotation
    if kind is tuple and arguments and Ellipsis not in arguments:
        return f"a list [{', '.join(map(described, arguments))}]"
    if kind in _LISTS:
        return f"a list, each {described(arguments[0])}" if arguments else "a list"
    if isinstance(kind, type) and issubclass(kind, Mapping):
        return "named entries" + (f", each {described(arguments[1])}" if arguments else "")
    if isinstance(kind, type) and issubclass(kind, os.PathLike):
        return "a path"
    name = "an object or a function" if kind is Callable or not _named(kind) else kind.__name__
    return f"{name} (a node with a _target_)"


def signature(target: Any) -> inspect.Signature | None:
    """Of a class or a function, annotations evaluated if they can be; None if written in C."""
    with suppress(ValueError, TypeError, NameError, AttributeError):  # for type checkers alone
        return inspect.signature(target, eval_str=True)
    with suppress(ValueError, TypeError):
        return inspect.signature(target)
    return None


def _scalar(value: Any, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    if kind is float:
        return isinstance(value, (int, float)) and not math.isnan(value)
    return isinstance(value, kind)


def _items_fit(value: list[Any], kind: Any, arguments: tuple[Any, ...]) -> bool:
    if not arguments:
        return True
    if kind is tuple and Ellipsis not in arguments:
        return len(value) == len(arguments) and all(map(fits, value, arguments))
    return all(fits(item, arguments[0]) for item in value)


def _values_fit(value: Mapping[str, Any], arguments: tuple[Any, ...]) -> bool:
    return not arguments or all(fits(one, arguments[1]) for one in value.values())


def _named(kind: Any) -> bool:
    """Whether it is a class, of which a node alone can make an object; not a variable."""
    return isinstance(kind, type)


def _literals(annotation: Any) -> list[str]:
    """All words that the annotation lists."""
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Literal:
        return [str(one) for one in arguments]
    return [word for one in arguments for word in _literals(one)]


def _shown(value: Any) -> str:
    """As one would write it in YAML."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else repr(value)
