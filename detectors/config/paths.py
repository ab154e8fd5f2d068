"""Finds the configs of this package and of the user, and lists the choices that they offer."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())


def choices(words: Sequence[str] = ()) -> dict[str, list[str]]:
    """All choices of every group, ours and those in a folder of the user's."""
    roots = [CONF, *(Path(folder) for folder in config_dirs(words))]
    folders = [path for root in roots if root.is_dir() for path in root.iterdir() if path.is_dir()]
    found: dict[str, list[str]] = {}
    for folder in folders:
        files = folder.glob("*.yaml")
        found[folder.name] = sorted({*found.get(folder.name, []), *(f.stem for f in files)})
    return found


def config_dirs(words: Sequence[str]) -> Iterator[str]:
    """Folders of the user's that `--config-dir` or `hydra.searchpath` name."""
    for flag, value in pairwise([*words, ""]):
        if flag.startswith("hydra.searchpath="):
            yield from re.findall(r"file://([^,\]]+)", flag)
        if flag in ("--config-dir", "-cd"):
            yield value
        elif flag.startswith("--config-dir="):
            yield flag.partition("=")[2]
