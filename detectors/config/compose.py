"""Composes a config from overrides."""

import pickle
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from detectors.config import darknet, folders
from detectors.config.loading import loading_fast
from detectors.config.paths import CONF, config_dirs, key, written
from detectors.config.spelling import unknown_choice

folders.register()
darknet.register()

_REFUSALS = (HydraException, OmegaConfBaseException, yaml.YAMLError)


def compose(words: Sequence[str], name: str = "train") -> DictConfig:
    """The config `name` under these words; a running Hydra job is left as it was.

    Raises:
        ValueError: Hydra refuses a word or a file, or a choice is unknown.
    """
    if told := unknown_choice(words):
        raise ValueError(told)
    try:
        given = (*words, *lifted(words))
        if any(config_dirs(words)):
            return _composed(given, name, CONF)
        return pickle.loads(_composed_once(given, name, CONF, written(CONF)))
    except _REFUSALS as error:
        raise ValueError(unreadable(words) or str(error) or str(error.__cause__)) from error


def unreadable(words: Sequence[str]) -> str:
    """How to write the first word whose value Hydra reads in quotation marks alone; or nothing."""
    for word in words:
        place, _, value = word.partition("=")
        written = f"{place}={_quoted(value)}"
        if value and not word.startswith("-") and not _readable(word) and _readable(written):
            told = "the value has signs that mean something to Hydra: write"
            return f"{word}: {told} {shlex.quote(written)}"
    return ""


def _quoted(value: str) -> str:
    """The value in quotation marks, of a list each of its items."""
    if value.startswith("[") and value.endswith("]"):
        return f"[{','.join(map(_quoted, value[1:-1].split(',')))}]"
    quoted = len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]
    return value if quoted else f'"{value}"'


def _readable(word: str) -> bool:
    try:
        OverridesParser.create().parse_overrides([word])
    except HydraException:
        return False
    return True


def _composed(words: tuple[str, ...], name: str, root: Path) -> DictConfig:
    with running_apart(root):
        return hydra.compose(name, overrides=list(words))


@lru_cache(maxsize=64)
def _composed_once(words: tuple[str, ...], name: str, root: Path, files: object) -> bytes:
    """The same, pickled, which is copied in a fifth of the time; made anew if a file is written."""
    return pickle.dumps(_composed(words, name, root))


def lifted(words: Sequence[str]) -> list[str]:
    """Choices of the tricks that are said, as words where the recipe that is said has others.

    A word that chooses a trick is later than the recipe; in Hydra the recipe would win.

    Raises:
        ValueError: Hydra cannot read a word.
    """
    said = {key(word): word for word in words}
    if not {"experiment", "trick"} <= said.keys():
        return []
    roots = [CONF, *map(Path, config_dirs(words))]
    recipes, tricks = (_value(said[group]) for group in ("experiment", "trick"))
    of_recipe: dict[str, Any] = {}
    of_tricks: dict[str, Any] = {}
    for recipe in recipes:
        of_recipe |= _choices_of("experiment", recipe, roots)
    for trick in tricks:
        of_tricks |= _choices_of("trick", trick, roots)
    both = [group for group in of_tricks if group in of_recipe and group not in said]
    return [f"{group}={of_tricks[group]}" for group in both]


def _value(word: str) -> list[str]:
    """The choices that a word names; none where it deletes them or leaves them to a sweep."""
    try:
        (parsed,) = OverridesParser.create().parse_overrides([word])
    except HydraException as error:
        raise ValueError(str(error)) from error
    value = None if parsed.is_sweep_override() or parsed.is_delete() else parsed.value()
    return [str(one) for one in value] if isinstance(value, list) else [str(value)] * bool(value)


def _choices_of(group: str, name: str, roots: Sequence[Path]) -> dict[str, Any]:
    """Choices of other groups that a file makes, and before it the files that it includes."""
    file = next((f for root in roots if (f := root / group / f"{name}.yaml").is_file()), None)
    content = yaml.safe_load(file.read_text(encoding="utf-8")) if file else None
    found: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for item in content.get("defaults", []) if isinstance(content, Mapping) else []:
        if isinstance(item, str) and item != "_self_":
            found |= _choices_of(group, item, roots)
        elif isinstance(item, Mapping):
            ((place, choice),) = item.items()
            if place.startswith("override /"):
                own[place.removeprefix("override /")] = choice
    return found | own


def chosen(group: str, words: Sequence[str], name: str = "train") -> list[str]:
    """Choices of a group of which several may be chosen, in their order.

    What a choice of the group chooses in its turn is part of it, and not named.

    Raises:
        ValueError: Hydra refuses an override.
    """
    said = [word for word in words if key(word) == group]
    if said:
        return _value(said[-1])
    if not _may_choose(group, words):
        return []
    try:
        with running_apart(CONF) as loader:
            found = loader.compute_defaults_list(name, list(words), RunMode.RUN).defaults
    except HydraException as error:
        raise ValueError(str(error)) from error
    named = [default for default in found if _group(default.config_path) == group]
    return [Path(d.config_path or "").name for d in named if _group(d.parent) != group]


def _may_choose(group: str, words: Sequence[str]) -> bool:
    """Whether a file that a word names chooses from the group; those of the user's may."""
    return not {key(word) for word in words}.isdisjoint({*_choosers(group), "hydra.searchpath"})


@cache
def _choosers(group: str) -> set[str]:
    """Our groups with a file whose defaults list chooses from the group."""
    line = re.compile(rf"^\s*- (override )?/{group}\b", re.MULTILINE)
    files = CONF.glob("*/*.yaml")
    return {file.parent.name for file in files if line.search(file.read_text(encoding="utf-8"))}


def _group(file: str | None) -> str:
    """The folder that a config stands in; "" for a primary one."""
    return Path(file or "").parent.name


@contextmanager
def running_apart(root: Path) -> Iterator[ConfigLoader]:
    """The loader of a Hydra of its own for the configs in `root`; a running job stays as it is."""
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with loading_fast(), hydra.initialize_config_dir(str(root), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().hydra = running
