"""Compares two configs by what they make, however they are written."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from detectors.config.instantiate import made


def equivalent(one: DictConfig, other: DictConfig) -> bool:
    """Whether two configs make the same things.

    Interpolations are resolved. A key that repeats a constructor's default is the same as no key,
    and a function the same as the class whose layers it makes. `part` does not count: it is there
    only to be referred to.
    """
    keys = {str(key) for key in one.keys() | other.keys()} - {"part"}
    return all(_alike(_resolved(one, key), _resolved(other, key)) for key in keys)


def _resolved(cfg: DictConfig, key: str) -> Any:
    """Plain containers of a node; unresolved if a value is not known yet, as the run's folder."""
    try:
        node = cfg.get(key)
        return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
    except OmegaConfBaseException:
        written: Any = OmegaConf.to_container(cfg, resolve=False)
        return written[key]


def _alike(one: Any, other: Any) -> bool:
    if one == other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        differing = _differing(one, other)
        return not differing or (differing == ["_target_"] and _layers_alike(one, other))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_alike, one, other))
    return False


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Keys by which two nodes differ."""
    missing = object()
    first, second = ({**defaults(node), **node} for node in (one, other))
    keys = one.keys() | other.keys()
    return [k for k in keys if not _alike(first.get(k, missing), second.get(k, missing))]


def defaults(node: Mapping[str, Any]) -> dict[str, Any]:
    """The default arguments of the target of a node."""
    try:
        parameters = inspect.signature(_target(node)).parameters.values()
    except (ValueError, TypeError):  # no target, or one written in C
        return {}
    return {p.name: p.default for p in parameters if p.default is not p.empty}


def _target(node: Mapping[str, Any]) -> Any:
    try:
        return get_object(node["_target_"]) if "_target_" in node else None
    except (ImportError, AttributeError):  # refused with its place when it shall be made
        return None


def _layers_alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a function and a class make the same layers, as far as their `repr` shows."""
    if {inspect.isclass(_target(node)) for node in (one, other)} != {True, False}:
        return False
    try:
        first, second = map(_made, (one, other))
    except ValueError:  # told with its place when it shall be made
        return False
    return isinstance(first, nn.Module) and repr(first) == repr(second)


def _made(node: Mapping[str, Any]) -> Any:
    """The object that a node describes, without values; a null `weights` is left out."""
    known = {key: value for key, value in node.items() if (key, value) != ("weights", None)}
    with torch.device("meta"):
        return made(known, "")
