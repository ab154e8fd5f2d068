"""Finds which keys of a config are read: by a command, or through `${...}` by what it reads."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from detectors.config.settings import SETTINGS

# `${a.b}`, `${.b}` of the same map, and `${a.${b}}`, of which any entry of `a` may be meant.
_REFERENCE = re.compile(r"\$\{(?:oc\.select:\s*)?(\.*)([\w.]*)(?=[},$])")
_WHOLE = re.compile(r"\$\{(\w[\w.]*)\}")


def read_keys(raw: Mapping[str, Any]) -> set[str]:
    """Dotted keys of the nodes that are read, with everything under them.

    Args:
        raw: the whole config in plain containers, interpolations as they stand.
    """
    found: set[str] = set()
    waiting = {key for key in SETTINGS if key in raw}
    while waiting:
        found |= waiting
        waiting = {ref for key in waiting for ref in _references(at(raw, key), key)} - found
    return found


def is_read(key: str, read: set[str]) -> bool:
    """Whether the key, something under it or something that it belongs to is read."""
    return any(f"{key}.".startswith(f"{r}.") or f"{r}.".startswith(f"{key}.") for r in read)


def said_by(raw: Mapping[str, Any], place: str) -> str:
    """The key whose value stands at a place, where that is a link, or else the place.

    Args:
        raw: as of `read_keys`.
        place: a dotted key, in whose nodes there may be links to others.
    """
    path: list[str] = []
    for name in place.split("."):
        path, node = [*path, name], at(raw, ".".join([*path, name]))
        while isinstance(node, str) and (link := _WHOLE.fullmatch(node)):
            path, node = link[1].split("."), at(raw, link[1])
    return ".".join(path)


def used_slots(cfg: DictConfig) -> set[str]:
    """Names X of all `${part.X}` that is read, by the model itself or through other parts."""
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    return {name.split(".")[1] for name in read_keys(raw) if name.startswith("part.")}


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested maps by dotted key; an empty map is one too."""
    if not isinstance(node, dict) or not node:
        yield path, node
        return
    for name, child in node.items():
        yield from leaves(child, f"{path}.{name}" if path else str(name))


def at(raw: Any, key: str) -> Any:
    """The node under a dotted key; None where there is none."""
    for name in key.split("."):
        if isinstance(raw, list) and name.isdecimal() and int(name) < len(raw):
            raw = raw[int(name)]
        elif isinstance(raw, Mapping):
            raw = raw.get(name)
        else:
            return None
    return raw


def _references(node: Any, path: str) -> Iterator[str]:
    """Keys that the values under a node refer to."""
    if isinstance(node, (Mapping, list)):
        children = node.items() if isinstance(node, Mapping) else enumerate(node)
        for name, child in children:
            yield from _references(child, f"{path}.{name}")
    elif isinstance(node, str):
        for dots, key in _REFERENCE.findall(node):
            above = path.split(".")[: -len(dots)] if dots else []
            yield ".".join([*above, *filter(None, key.split("."))])
