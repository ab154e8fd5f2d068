"""Refuses overrides and tricks without effect."""

from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from detectors.config.compose import chosen, compose
from detectors.config.equivalence import equivalent
from detectors.config.references import leaves, used_slots
from detectors.config.words import check_words

GRID_PAGE = "docs/tricks.md says which trick serves which family."


def check_overrides(cfg: DictConfig, words: Sequence[str], name: str = "train") -> None:
    """Refuse words that mean nothing, and tricks that change nothing or a part that is not used.

    Args:
        cfg: what they compose.
        words: overrides of the config `name`.

    Raises:
        ValueError: names the word or the trick, and the reason.
    """
    check_words(cfg, words)
    tricks = chosen("trick", words, name)
    for trick in tricks:
        others = ",".join(other for other in tricks if other != trick)
        check_trick(trick, cfg, _composed([*words, f"trick=[{others}]"], name))


def _composed(words: Sequence[str], name: str) -> DictConfig | None:
    try:
        return compose(words, name)
    except ValueError:  # a word depends on the trick that is missing here
        return None


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
