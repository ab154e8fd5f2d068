"""Makes the objects that a config describes, and refuses keys that they do not take."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import hydra
from hydra.errors import HydraException
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from detectors.config.spelling import did_you_mean

_FULL_KEY = re.compile(r"^full_key: (\S+)$", re.MULTILINE)


def instantiate(cfg: DictConfig, key: str, **arguments: object) -> Any:
    """The object that the node `key` describes, all of its keys checked first.

    Raises:
        ValueError: a part cannot be made; the message names its place in the config.
    """
    node = OmegaConf.select(cfg, key)
    return made(OmegaConf.to_container(node, resolve=True, throw_on_missing=True), key, **arguments)


def made(node: Any, place: str, **arguments: object) -> Any:
    """The object that plain containers describe; `place` is where messages say they stand.

    Raises:
        ValueError: as `instantiate`.
    """
    check_keys({**node, **arguments} if arguments else node, place)
    try:
        return hydra.utils.instantiate(node, _convert_="all", **arguments)
    except HydraException as error:
        raise ValueError(_told(place, error)) from error


def _told(key: str, error: HydraException) -> str:
    """The message of an error with its place in the config; Hydra knows the part below `key`."""
    below = _FULL_KEY.findall(str(error))
    place = ".".join([key, *below[:1]])
    cause = error.__cause__
    if isinstance(cause, ValueError):
        return f"{place}: {cause}"
    return f"{place}: {error if cause is None else repr(cause)}"


def check_keys(node: Any, path: str) -> None:
    """Refuse a key that the constructor under it does not know, and one that it lacks.

    Partials are looked at too, though what they lack may come later.

    Raises:
        ValueError: names the path, and the likely spelling and what there is, or what is missing.
    """
    children = node.items() if isinstance(node, Mapping) else enumerate(node)
    for name, child in children:
        if isinstance(child, (Mapping, list)):
            check_keys(child, f"{path}.{name}")
    if isinstance(node, Mapping) and "_target_" in node:
        _check_target(node, path)


def _check_target(node: Mapping[str, Any], path: str) -> None:
    known = _parameters(node["_target_"], path)
    if known is None:
        return
    for key in [key for key in node if key not in known and not key.startswith("_")]:
        raise ValueError(
            f"{path}.{key}: {node['_target_']} has no parameter {key!r}.{did_you_mean(key, known)} "
            f"It takes: {', '.join(known) or 'nothing'}"
        )
    missing = [k for k in _required(node["_target_"]) if k not in node]
    if missing and not node.get("_partial_") and "_args_" not in node:
        raise ValueError(
            f"{path}: {node['_target_']} needs {', '.join(map(repr, missing))}, which nothing here "
            f"says: set {path}.{missing[0]}, or choose another part"
        )


def _required(target: str) -> list[str]:
    """Names of parameters without a default."""
    parameters = inspect.signature(get_object(target)).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]


def _parameters(target: str, path: str) -> list[str] | None:
    """Names that the target takes; None where it takes any."""
    try:
        signature = inspect.signature(get_object(target))
    except (ImportError, AttributeError) as error:
        raise ValueError(f"{path}._target_: cannot import {target!r}: {error}") from error
    except ValueError:  # a constructor written in C
        return None
    kinds = {parameter.kind for parameter in signature.parameters.values()}
    anything = inspect.Parameter.VAR_KEYWORD in kinds
    return None if anything else [name for name in signature.parameters if name != "self"]
