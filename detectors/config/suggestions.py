"""Suggests what a misspelt word was probably meant to be; Hydra only says that it is unknown."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from omegaconf import DictConfig

from detectors.config.compose import compose, unreadable
from detectors.config.paths import choices, config_dirs
from detectors.config.spelling import did_you_mean, unknown_choice
from detectors.config.words import check_words


def composed(words: Sequence[str]) -> DictConfig:
    """The config of words of `detectors train`, checked, for commands that train by it.

    Raises:
        ValueError: a word is refused; as the command itself would tell it.
    """
    try:
        cfg = compose(words)
    except ValueError as error:
        raise ValueError(hint("train", words) or str(error)) from error
    check_words(cfg, words)
    return cfg


def hint(command: str, words: Sequence[str]) -> str:
    """The first override that names an unknown key or choice, what is near it, and what there is.

    Or the first one that Hydra cannot read; empty if there is none.

    Args:
        command: whose config the words override.
        words: of the command line, flags included.
    """
    if told := unknown_choice(words) or unreadable(words):
        return told
    overrides = [word for word in words if "=" in word and word[0] not in "+~-"]
    chosen = [word for word in overrides if _key(word) in choices(words)]
    return next((line for line in _unknown_keys(command, overrides, chosen, words) if line), "")


def _key(word: str) -> str:
    return word.split("=")[0]


def _unknown_keys(
    command: str, overrides: Sequence[str], chosen: Sequence[str], words: Sequence[str]
) -> Iterator[str]:
    search = [f"hydra.searchpath=[{','.join(f'file://{d}' for d in config_dirs(words))}]"]
    try:
        cfg = compose([*(search if any(config_dirs(words)) else []), *chosen], command)
    except ValueError:  # not a matter of spelling
        return
    for word in overrides:
        if _key(word).split(".")[0] != "hydra":
            yield _unknown(_key(word), cfg, set(choices(words)))


def _unknown(key: str, cfg: Any, groups: set[str]) -> str:
    """A sentence about the first name of a dotted key that is not there."""
    node, path = cfg, key.split(".")
    if key in groups:
        return ""
    for depth, name in enumerate(path):
        if not hasattr(node, "keys"):
            return ""
        known = sorted({str(k) for k in node} | (groups if depth == 0 else set()))
        if name not in known:  # `in node` denies a value that is still missing
            return _told(name, ".".join(path[:depth]), known)
        node = node._get_node(name)
    return ""


def _told(name: str, parent: str, known: Collection[str]) -> str:
    known = [k for k in known if not k.startswith("_")]
    place = f"{parent} has" if parent else "there is"
    return f"{place} no {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}"
