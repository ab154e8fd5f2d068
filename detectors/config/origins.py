"""Tells of each value of a config which file or word it comes from."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from detectors.config.compose import compose, lifted, running_apart
from detectors.config.paths import CONF, config_dirs
from detectors.config.references import leaves

LATER = "found when the run began"


def origins(words: Sequence[str], name: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Where each leaf of a run's config comes from, by its dotted key.

    That is a file of ours ("model/fcos.yaml"), one of the user's, the word that says it, or, where
    the value is another than these give, `LATER`: classes and anchors are found in the data.

    Args:
        words: of the command line, with the folders of the user's files as `words_of_job` has them.
        name: of the primary config.
        config: plain containers, resolved, as `config.yaml` of a run folder holds them.

    Raises:
        ValueError: the words compose no config any more.
    """
    composed = compose(words, name)
    given = _leaves(composed, resolve=False)
    composed.run_dir = config.get("run_dir")
    resolved = _leaves(composed, resolve=True)
    written = dict(_of_files(words, name)) | dict(_of_words(words))
    return {
        key: _origin(key, value, given, resolved, written) for key, value in leaves(dict(config))
    }


def _origin(
    key: str,
    value: Any,
    given: Mapping[str, Any],
    resolved: Mapping[str, Any],
    written: Mapping[str, str],
) -> str:
    if key not in resolved or resolved[key] != value:
        return LATER
    link = given.get(key)
    as_link = f", as {link}" if isinstance(link, str) and "${" in link else ""
    return _nearest(key, written) + as_link


def _leaves(config: DictConfig, resolve: bool) -> dict[str, Any]:
    return dict(leaves(OmegaConf.to_container(config, resolve=resolve)))


def _nearest(key: str, written: Mapping[str, str]) -> str:
    """Of the key itself, or of the node above it that was set as a whole."""
    parts = key.split(".")
    places = (".".join(parts[:depth]) for depth in range(len(parts), 0, -1))
    return next((written[place] for place in places if place in written), "")


def _of_files(words: Sequence[str], name: str) -> Iterator[tuple[str, str]]:
    """Keys that files set and the names of these, the later of two last."""
    try:
        with running_apart(CONF) as loader:
            given = [*words, *lifted(words)]
            defaults = loader.compute_defaults_list(name, given, RunMode.RUN).defaults
    except HydraException as error:
        raise ValueError(str(error)) from error
    folders = [CONF, *map(Path, config_dirs(words))]
    for default in defaults:
        files = (folder / f"{default.config_path}.yaml" for folder in folders)
        file = next(filter(Path.is_file, files), None)
        if file is None:  # one of Hydra's own, or a choice of nothing
            continue
        content = dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
        content.pop("defaults", None)
        for key, _ in leaves(content):
            yield f"{default.package or ''}.{key}".strip("."), _named(file)


def _named(file: Path) -> str:
    """ "model/fcos.yaml"; one of the user's with its folder."""
    return str(file.relative_to(CONF) if file.is_relative_to(CONF) else file)


def _of_words(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Keys that words set, and the words; those that choose a file say nothing themselves."""
    for word in words:
        (parsed,) = OverridesParser.create().parse_overrides([word])
        if not parsed.is_delete() and not (CONF / parsed.key_or_group).is_dir():
            yield parsed.key_or_group, f"the word {word}"
