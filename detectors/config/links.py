"""Keeps a config in a file with its links, and follows these without running anything.

A link is `${key}` with the full name of a key. Everything else between `${` and `}` is OmegaConf's
to compute: a resolver, which runs code and may read the environment, or a relative name. It is
computed before a config is stored, and refused where a file asks for it.
"""

import re
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

_LINK = re.compile(r"\$\{(\w+(?:\.\w+)*)\}")
_LINKS = re.compile(rf"(?:[^$\\]|\$(?!\{{)|{_LINK.pattern})*")
DEEPEST = 20  # links one behind the other
PLAIN = (str, int, float, bool, type(None))


def with_links(cfg: DictConfig) -> dict[str, Any]:
    """Plain containers of a config in which links stand as they are and all else is computed."""
    written: Any = OmegaConf.to_container(cfg, resolve=False)
    _compute(cfg, written)
    return written


def _compute(node: DictConfig | ListConfig, written: Any) -> None:
    """Put values in place of all that is no link in `written`, the plain containers of `node`."""
    for key, value in _items(written):
        if isinstance(value, dict | list):
            _compute(node[key], value)
        elif isinstance(value, str) and "${" in value and not _LINKS.fullmatch(value):
            found = node[key]
            written[key] = (
                OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
            )


def followed(config: Any, key: str = "") -> Any:
    """Plain containers of the node `key` of a config from a file, or of all, its links followed.

    Nothing is run: what is no link, and would have to be computed, is refused. A link beside other
    text becomes text.

    Raises:
        ValueError: the config holds anything but plain values and links, or a link leads nowhere.
    """
    _check(config, "config")
    return _followed(config, found(config, key) if key else config, (key,))


def found(config: Any, key: str) -> Any:
    """The node of that name as it stands, reached through links where its parents are some."""
    node = config
    for name in key.split("."):
        link = _LINK.fullmatch(node) if isinstance(node, str) else None
        node = found(config, link[1]) if link else node
        if isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        elif isinstance(node, dict) and name in node:
            node = node[name]
        else:
            raise ValueError(f"the config has no {key!r}, which a link or a command asks for")
    return node


def _followed(config: Any, node: Any, path: tuple[str, ...]) -> Any:
    """`path`: names of the links that led here."""
    if isinstance(node, dict):
        return {key: _followed(config, child, path) for key, child in node.items()}
    if isinstance(node, list):
        return [_followed(config, child, path) for child in node]
    if not isinstance(node, str) or "${" not in node:
        return node
    keys = _LINK.findall(node)
    if len(path) > DEEPEST or set(keys) & set(path):
        raise ValueError(f"the links of the config lead in a circle: {' -> '.join(path)}")
    values = [_followed(config, found(config, key), (*path, key)) for key in keys]
    if _LINK.fullmatch(node):
        return values[0]
    return _LINK.sub(lambda _: str(values.pop(0)), node)


def merged(config: Any, old: Any, new: Any) -> Any:
    """The node `new` over the node `old` of `config`, keys by key; a new part replaces an old."""
    link = _LINK.fullmatch(old) if isinstance(old, str) else None
    if link and isinstance(new, dict):
        old = found(config, link[1])
    if not isinstance(old, dict) or not isinstance(new, dict) or "_target_" in new:
        return new
    return {**old, **{key: merged(config, old.get(key), child) for key, child in new.items()}}


def replaced(config: Any, key: str, value: Any) -> Any:
    """A copy of the config with another value at a key; parents that are links are followed."""
    copy = deepcopy(dict(config))
    outer, _, last = key.rpartition(".")
    node = found(copy, outer) if outer else copy
    link = _LINK.fullmatch(node) if isinstance(node, str) else None
    (found(copy, link[1]) if link else node)[last] = value
    return copy


def _check(node: Any, place: str) -> None:
    """Refuse what OmegaConf or Hydra would compute, and values that are not plain."""
    if isinstance(node, dict | list):
        for key, child in _items(node):
            if not isinstance(key, str | int):
                raise ValueError(f"{place}: the key {key!r} is neither a name nor a number")
            _check(child, f"{place}.{key}")
    elif type(node) not in PLAIN:
        raise ValueError(f"{place} is a {type(node).__name__}, no plain value of a config")
    elif isinstance(node, str) and "${" in node and not _LINKS.fullmatch(node):
        raise ValueError(f"{place} is {node!r}, which would have to be computed: it is not")


def _items(node: Any) -> Iterator[tuple[Any, Any]]:
    yield from (node.items() if isinstance(node, dict) else enumerate(node))


def targets(node: Any) -> Iterator[str]:
    """Every `_target_` in plain containers."""
    if isinstance(node, dict) and "_target_" in node:
        yield str(node["_target_"])
    if isinstance(node, dict | list):
        for _, child in _items(node):
            yield from targets(child)
