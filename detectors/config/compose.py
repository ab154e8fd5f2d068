"""Composes a config from overrides."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from detectors.config.paths import CONF
from detectors.config.spelling import unknown_choice


def compose(overrides: Sequence[str], name: str = "train") -> DictConfig:
    """The config `name` under these overrides; a running Hydra job is left as it was.

    Raises:
        ValueError: Hydra refuses an override, or a choice is unknown.
    """
    if told := unknown_choice(overrides):
        raise ValueError(told)
    try:
        with _own_hydra():
            return hydra.compose(name, overrides=list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(str(error)) from error


def chosen(group: str, overrides: Sequence[str], name: str = "train") -> list[str]:
    """Choices of a group of which several may be chosen, in their order.

    What a choice of the group chooses in its turn is part of it, and not named.

    Raises:
        ValueError: Hydra refuses an override.
    """
    if not _may_choose(group, overrides):
        return []
    try:
        with _own_hydra() as loader:
            found = loader.compute_defaults_list(name, list(overrides), RunMode.RUN).defaults
    except HydraException as error:
        raise ValueError(str(error)) from error
    named = [default for default in found if _group(default.config_path) == group]
    return [Path(d.config_path or "").name for d in named if _group(d.parent) != group]


def _may_choose(group: str, overrides: Sequence[str]) -> bool:
    """Whether a word chooses from the group, or a file that does; those of the user's may."""
    keys = {override.lstrip("+~").split("=")[0] for override in overrides}
    return not keys.isdisjoint({*_choosers(group), group, "hydra.searchpath"})


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
def _own_hydra() -> Iterator[ConfigLoader]:
    running = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            yield GlobalHydra.instance().config_loader()
    finally:
        GlobalHydra.instance().hydra = running
