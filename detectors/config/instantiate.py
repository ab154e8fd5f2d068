"""Makes the objects that a config describes, and refuses keys and values they do not take."""

import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import hydra
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from detectors.config.references import at, said_by
from detectors.config.spelling import did_you_mean
from detectors.config.values import check_value, is_node, signature

_ANYTHING = inspect.Parameter("anything", inspect.Parameter.VAR_KEYWORD, annotation=Any)
_FULL_KEY = re.compile(r"^full_key: (\S+)$", re.MULTILINE)


def instantiate(cfg: DictConfig, key: str, **arguments: object) -> Any:
    """The object that the node `key` describes, all of its keys and values checked first.

    Raises:
        ValueError: a part cannot be made; the message names its place in the config.
    """
    node = OmegaConf.select(cfg, key)
    with links_told(cfg):
        plain = OmegaConf.to_container(node, resolve=True, throw_on_missing=True)
        return made(plain, key, **arguments)


@contextmanager
def links_told(cfg: DictConfig) -> Iterator[None]:
    """Let an error about a value say which key gives it, where that is the value of a link."""
    try:
        yield
    except ValueError as error:
        place = str(error).partition(":")[0]
        raw: Any = OmegaConf.to_container(cfg, resolve=False)
        above, _, name = place.rpartition(".")
        source = said_by(raw, place)
        if not above or source == f"{said_by(raw, above)}.{name}" or at(raw, source) is None:
            raise
        raise ValueError(f"{error} (it is the value of {source})") from error


def made(node: Any, place: str, **arguments: object) -> Any:
    """The object that plain containers describe; `place` is where messages say they stand.

    Without a `_target_` they are named parts, and so is what they make. Objects that stand in them
    are not copied.

    Raises:
        ValueError: as `instantiate`.
    """
    how = {key: value for key, value in arguments.items() if key.startswith("_")}
    check_node({**node, **how}, place, arguments.keys() - how.keys())
    if not is_node(node):
        for name, child in node.items():
            check_value(f"{place}.{name}", child, Callable)
    try:
        return hydra.utils.instantiate(_Owned(node), _convert_="all", **arguments)
    except HydraException as error:
        raise ValueError(_told(place, error)) from error


class _Owned(DictConfig):
    """A config that nobody else has, so Hydra need not spend a third of its time on a copy."""

    def __init__(self, content: dict[str, Any]) -> None:
        super().__init__(content, flags={"allow_objects": True})

    def __deepcopy__(self, memo: dict[int, Any]) -> "_Owned":
        return self


def _told(key: str, error: HydraException) -> str:
    """The message of an error with its place in the config; Hydra knows the part below `key`."""
    below = _FULL_KEY.findall(str(error))
    place = ".".join([key, *below[:1]])
    cause = error.__cause__
    if isinstance(cause, ValueError) or type(cause).__module__.startswith("lightning."):
        return str(cause) if str(cause).startswith(f"{place}.") else f"{place}: {cause}"
    return f"{place}: {error if cause is None else repr(cause)}"


def check_node(node: Any, path: str, given: Collection[str] = ()) -> None:
    """Refuse a key that the constructor under it does not know or lacks, and a value unlike it.

    Partials are looked at too, though what they lack may come later.

    Args:
        given: parameters whose values come from elsewhere.

    Raises:
        ValueError: names the path, and the likely spelling and what there is, or what is missing.
    """
    children = node.items() if isinstance(node, Mapping) else enumerate(node)
    for name, child in children:
        if isinstance(child, (Mapping, list)):
            check_node(child, f"{path}.{name}")
    if is_node(node):
        _check_target(node, path, given)


def _check_target(node: Mapping[str, Any], path: str, given: Collection[str]) -> None:
    target = _found(node["_target_"], path)
    takes = signature(target)
    known = None if takes is None else _names(takes)
    keys = [key for key in node if not str(key).startswith("_")]
    for key in [*keys, *given]:
        if known is not None and key not in known:
            without = f"{path}.{key}: {node['_target_']} has no parameter {key!r}"
            raise ValueError(f"{without}{_reason(target, str(key), known)}")
    if takes is None:
        return
    for key in keys:
        taker = takes.parameters.get(key, _ANYTHING)
        if node[key] is not None or taker.default is not None:
            check_value(f"{path}.{key}", node[key], taker.annotation)
    missing = [k for k in _required(takes) if k not in node and k not in given]
    if missing and not node.get("_partial_") and "_args_" not in node:
        raise ValueError(
            f"{path}: {node['_target_']} needs {', '.join(map(repr, missing))}, which nothing here "
            f"says: set {path}.{missing[0]}, or choose another part"
        )


def _reason(target: Any, key: str, known: list[str]) -> str:
    """Why `target` takes no `key`, where its class says so by `lacking`; else what it takes."""
    lacking = getattr(target, "lacking", {})
    if key in lacking:
        return f": {lacking[key]}"
    return f".{did_you_mean(key, known)} It takes: {', '.join(known) or 'nothing'}"


def _found(target: Any, path: str) -> Any:
    try:
        return get_object(target)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise ValueError(f"{path}._target_: cannot import {target!r}: {error}") from error


def _names(takes: inspect.Signature) -> list[str] | None:
    """Names of all parameters; None where it takes any."""
    anything = any(p.kind is p.VAR_KEYWORD for p in takes.parameters.values())
    return None if anything else list(takes.parameters)


def _required(takes: inspect.Signature) -> list[str]:
    """Names of parameters without a default."""
    parameters = takes.parameters.values()
    several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p.name for p in parameters if p.default is p.empty and p.kind not in several]
