"""Checks a finished part against the contract of its kind.

A contract is a base class in the `__init__` of its folder (`detectors.losses.LossTerm`, ...). Each
of its attributes is written with what it means and, where there is one, its default:

    needs_quality: Annotated[bool, "whether it teaches the quality logit"] = False

A part that derives from the base class has the defaults. Any other object may serve as well, as
long as it has all attributes and methods itself.
"""

from abc import ABCMeta
from collections.abc import Callable
from functools import partial
from typing import Any, get_args


def check_contract(part: object, contract: ABCMeta) -> None:
    """Refuse a part that lacks an attribute or a method of its contract.

    Raises:
        ValueError: names the part, what it lacks, what that means and how to get it.
    """
    for name in (*_attributes(contract), *_methods(contract)):
        if not hasattr(part, name):
            raise ValueError(
                f"{_name(type(part))} lacks `{name}`, which every {contract.__name__} has: "
                f"{_meaning(contract, name)}. {_remedy(contract, name)}"
            )


def made_by(factory: Callable[..., Any]) -> Callable[..., Any]:
    """The class or function that a factory calls; `_partial_: true` in YAML wraps it."""
    return factory.func if isinstance(factory, partial) else factory


def _attributes(contract: ABCMeta) -> dict[str, Any]:
    """The annotations of the contract itself, by the names of its attributes."""
    return vars(contract).get("__annotations__", {})


def _methods(contract: ABCMeta) -> list[str]:
    return sorted(contract.__abstractmethods__)


def _meaning(contract: ABCMeta, name: str) -> str:
    if name in _methods(contract):
        first, _, _ = (getattr(contract, name).__doc__ or "").partition("\n")
        return first.rstrip(".:")
    return get_args(_attributes(contract)[name])[1]


def _remedy(contract: ABCMeta, name: str) -> str:
    base = _name(contract)
    if name in _methods(contract):
        return f"Write that method; {base} shows its arguments"
    if hasattr(contract, name):
        return f"Derive the class from {base}, where it is {getattr(contract, name)!r}, or set it"
    return "Set it in the constructor"


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"
