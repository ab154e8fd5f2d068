"""What a misspelt override was probably meant to be; Hydra only says that the key is not there."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from omegaconf import DictConfig

from detectors.config.compose import compose
from detectors.config.paths import CONF


def hint(command: str, words: Sequence[str]) -> str:
    """The first override whose key does not exist, what is near it, and what there is; or ""."""
    groups = {folder.name for folder in CONF.iterdir() if folder.is_dir()}
    keys = [word.split("=")[0] for word in words if "=" in word and word[0] not in "+~-"]
    chosen = [word for word in words if word.split("=")[0] in groups]
    try:
        cfg = compose(chosen, command)
    except ValueError:  # a choice that does not exist: Hydra has listed those that do
        return ""
    told = (_unknown(key, cfg, groups) for key in keys if key.split(".")[0] != "hydra")
    return next((line for line in told if line), "")


def _unknown(key: str, cfg: DictConfig, groups: set[str]) -> str:
    node: Any = cfg
    path = key.split(".")
    if key in groups:
        return ""
    for depth, name in enumerate(path):
        if not isinstance(node, DictConfig):
            return ""
        known = sorted({str(k) for k in node} | (groups if depth == 0 else set()))
        if name not in known:  # `in node` denies a value that is still missing
            return _told(name, ".".join(path[:depth]), known)
        node = node._get_node(name)
    return ""


def _told(name: str, parent: str, known: Iterable[str]) -> str:
    known = [k for k in known if not k.startswith("_")]
    close = difflib.get_close_matches(name, known, 1)
    guess = f" Did you mean {close[0]!r}?" if close else ""
    place = f"{parent} has" if parent else "there is"
    return f"{place} no {name!r}.{guess} Known: {', '.join(known)}"
