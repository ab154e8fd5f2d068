"""Refuses overrides and tricks without effect."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from detectors.config.compose import chosen, compose
from detectors.config.equivalence import equivalent
from detectors.config.paths import choices
from detectors.config.spelling import did_you_mean

GRID_PAGE = "docs/tricks.md says which trick serves which family."
_SLOT = re.compile(r"\$\{part\.(\w+)")


def check_overrides(cfg: DictConfig, words: Sequence[str], name: str = "train") -> None:
    """Refuse words and tricks that change nothing in the model, or a part that it does not use.

    Args:
        cfg: what they compose.
        words: overrides of the config `name`.

    Raises:
        ValueError: names the word or the trick, and the reason.
    """
    check_slots(cfg, words)
    check_added(cfg, words)
    tricks = chosen("trick", words, name)
    for trick in tricks:
        others = ",".join(other for other in tricks if other != trick)
        check_trick(trick, cfg, _composed([*words, f"trick=[{others}]"], name))


def _composed(words: Sequence[str], name: str) -> DictConfig | None:
    try:
        return compose(words, name)
    except ValueError:  # a word depends on the trick that is missing here
        return None


def check_slots(cfg: DictConfig, words: Sequence[str]) -> None:
    """Refuse an override of a part that the composed model does not use.

    Raises:
        ValueError: names the part and those that the model uses.
    """
    used = used_slots(cfg)
    for word in words:
        slot = word.lstrip("+~").split("=")[0].removeprefix("part.").split(".")[0]
        if slot in cfg.part and slot not in used:
            raise ValueError(
                f"{word}: this model does not use {slot!r}, so it would change nothing. "
                f"It uses: {', '.join(sorted(used))}"
            )


def check_added(cfg: DictConfig, words: Sequence[str]) -> None:
    """Refuse a key that a word adds at the top level, where nothing refers to it.

    Raises:
        ValueError: names the word.
    """
    raw = str(OmegaConf.to_container(cfg, resolve=False))
    for word in words:
        key = word.removeprefix("+").split("=")[0]
        added = word.startswith("+") and key.isidentifier() and key in cfg
        if added and key not in choices() and f"${{{key}" not in raw:
            others = [str(other) for other in cfg if other != key]
            raise ValueError(f"{word}: nothing reads {key!r}.{did_you_mean(key, others)}")


def check_trick(trick: str, cfg: DictConfig, without: DictConfig | None) -> None:
    """Refuse a trick that makes no difference between two configs, or one that nobody reads.

    Raises:
        ValueError: names the trick and the reason.
    """
    if without is None:
        return
    changed = changes(cfg, without)
    used = used_slots(cfg)
    unused = {key.split(".")[1] for key in changed if key.startswith("part.")} - used
    if unused:
        raise ValueError(
            f"trick={trick} changes {', '.join(sorted(unused))}, which this model does not use, or "
            f"not with what a later trick or word says. It uses: {', '.join(sorted(used))}. "
            f"{GRID_PAGE}"
        )
    if not changed or equivalent(cfg, without):
        raise ValueError(
            f"trick={trick} changes nothing here: what it sets is so already, or a later trick or "
            f"word sets it otherwise. {GRID_PAGE}"
        )


def changes(one: DictConfig, other: DictConfig) -> set[str]:
    """Dotted keys of the values that differ between two configs, interpolations as they stand."""
    first, second = (dict(leaves(OmegaConf.to_container(c, resolve=False))) for c in (one, other))
    missing = object()
    return {
        key
        for key in first.keys() | second.keys()
        if first.get(key, missing) != second.get(key, missing)
    }


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Values of nested maps by dotted key; an empty map is one too."""
    if not isinstance(node, dict) or not node:
        yield path, node
        return
    for name, child in node.items():
        yield from leaves(child, f"{path}.{name}" if path else str(name))


def used_slots(cfg: DictConfig) -> set[str]:
    """Names X of all `${part.X}` that `model` reaches, directly or through other parts."""
    raw = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(raw, dict)
    found: set[str] = set()
    waiting = set(_SLOT.findall(str(raw["model"])))
    while waiting:
        found |= waiting
        reached = {s for slot in waiting for s in _SLOT.findall(str(raw["part"].get(slot)))}
        waiting = reached - found
    return found
