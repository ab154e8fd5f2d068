"""Refuses words that mean nothing, without making anything that the config describes."""

import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from detectors.config.darknet import check_cfg
from detectors.config.fitted import check_fitted
from detectors.config.paths import CONF, choices, config_dirs, key
from detectors.config.references import at, is_read, leaves, read_keys, used_slots
from detectors.config.settings import SETTINGS, check_settings
from detectors.config.spelling import did_you_mean, said_twice

_HEADER = re.compile(r"\s*#\s*@package\s+(\S+)")


def said() -> list[str]:
    """The words of the running Hydra job as they were typed, with links as they stand."""
    task: Any = OmegaConf.to_container(HydraConfig.get().overrides.task, resolve=False)
    return list(task)


def words_of_job() -> list[str]:
    """The words of the running Hydra job, and where it looks for files of the user's."""
    sources = HydraConfig.get().runtime.config_sources
    named = ("command-line", "hydra.searchpath in command-line")
    users = [s for s in sources if s.provider in named and s.schema == "file"]
    search = ",".join(f"file://{source.path}" for source in users)
    return [*([f"hydra.searchpath=[{search}]"] if search else []), *said()]


def check_words(cfg: DictConfig, words: Sequence[str]) -> None:
    """Refuse words that are said twice, are read by nobody, or are no value for what reads them.

    Args:
        cfg: what they compose.

    Raises:
        ValueError: names the word and the reason.
    """
    check_repeated(words)
    check_headers(words)
    check_fitted(cfg, words)
    check_slots(cfg, words)
    check_read(cfg, words)
    check_cfg(cfg)
    check_settings(cfg)


def check_repeated(words: Sequence[str]) -> None:
    """Refuse a key that two words set, and a choice that one names twice.

    Raises:
        ValueError: names both words, or the choice.
    """
    if told := said_twice(words):
        raise ValueError(told)
    groups = choices()
    for word in words:
        value = word.partition("=")[2]
        several = Counter(re.findall(r"[\w-]+", value)) if key(word) in groups else {}
        if twice := [choice for choice, count in several.items() if count > 1]:
            raise ValueError(f"{word}: {twice[0]} is chosen twice, leave one")


def check_headers(words: Sequence[str]) -> None:
    """Refuse a file of the user's whose place in the config Hydra does not find in its first line.

    Raises:
        ValueError: names the file and the line that it lacks.
    """
    folders = [Path(folder) for folder in config_dirs(words)]
    for word in words:
        group, chosen = key(word), re.findall(r"[\w-]+", word.partition("=")[2])
        files = (folder / group / f"{name}.yaml" for folder in folders for name in chosen)
        for file in filter(Path.is_file, files):
            if (CONF / group / file.name).is_file():
                raise ValueError(
                    f"{file}: there is a {group}={file.stem} already, which would be taken: give "
                    "the file another name"
                )
            _check_header(file, group)


def _check_header(file: Path, group: str) -> None:
    lines = file.read_text(encoding="utf-8").splitlines()
    found = next((line for line in lines if line.strip()), "")
    late = any(map(_HEADER.match, lines))
    if not _HEADER.match(found) and (late or group not in _places(group)):
        raise ValueError(
            f"{file}: its first line must be `# @package {_place(group)}`, which tells where its "
            f"keys belong, found {found!r}"
        )


def _place(group: str) -> str:
    """Where the keys of most of our files in a group stand."""
    return _places(group).most_common(1)[0][0]


@cache
def _places(group: str) -> Counter[str]:
    """How many of our files say where their keys stand; that is the group where a file does not."""
    texts = (file.read_text(encoding="utf-8") for file in (CONF / group).glob("*.yaml"))
    headers = [_HEADER.match(text) for text in texts]
    return Counter(header[1] if header else group for header in headers) or Counter([group])


def check_slots(cfg: DictConfig, words: Sequence[str]) -> None:
    """Refuse an override of a part that the composed model does not use.

    Raises:
        ValueError: names the part and those that the model uses.
    """
    used = used_slots(cfg)
    for word in words:
        slot = key(word).removeprefix("part.").split(".")[0]
        if slot in cfg.get("part", {}) and slot not in used:
            raise ValueError(
                f"{word}: this model does not use {slot!r}, so it would change nothing. "
                f"It uses: {', '.join(sorted(used))}"
            )


def check_read(cfg: DictConfig, words: Sequence[str]) -> None:
    """Refuse a key that nothing reads, of a word or at the top level.

    Raises:
        ValueError: names the word or the key.
    """
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    read, groups = read_keys(raw), choices().keys()
    for word in words:
        unread = [leaf for leaf in _leaves(word, raw, groups) if not is_read(leaf, read)]
        if unread:
            raise ValueError(f"{word}: {_unread(unread[0], raw, read)}")
    for name in raw:
        if name not in {*groups, "native_size"} and not is_read(name, read):
            near = did_you_mean(name, [*SETTINGS, *groups])
            raise ValueError(f"nothing reads {name!r}, which a file puts into the config.{near}")


def _unread(leaf: str, raw: Any, read: set[str]) -> str:
    """That nothing reads the first name of a dotted key that is in vain, and what is near it."""
    parts = leaf.split(".")
    keys = (".".join(parts[:depth]) for depth in range(1, len(parts) + 1))
    first = next(key for key in keys if not is_read(key, read))
    above, _, name = first.rpartition(".")
    beside = at(raw, above) if above else {**raw, **SETTINGS}
    near = did_you_mean(name, [str(other) for other in beside if other != name])
    return f"nothing reads {first!r}.{near}"


def _leaves(word: str, raw: Any, groups: Collection[str]) -> Iterator[str]:
    """The dotted key of each value that a word sets, which may choose from one of the groups."""
    place = _place(key(word)) if key(word) in groups else key(word)
    node = at(raw, place)
    if place != "_global_" and node is not None:
        yield from (leaf for leaf, _ in leaves(node, place))
