"""Finds what words name: configs of this package and of the user, their choices, checkpoints."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())


def key(word: str) -> str:
    """What a word sets: a dotted key or a group."""
    return word.lstrip("+~").split("=")[0]


def choices(words: Sequence[str] = ()) -> dict[str, list[str]]:
    """All choices of every group, ours and those in a folder of the user's."""
    found = dict(_choices_in(CONF))
    for folder in config_dirs(words):
        for group, names in _choices_in.__wrapped__(Path(folder)).items():
            found[group] = sorted({*found.get(group, []), *names})
    return found


@cache
def _choices_in(root: Path) -> dict[str, list[str]]:
    folders = [path for path in root.iterdir() if path.is_dir()] if root.is_dir() else []
    return {folder.name: sorted(f.stem for f in folder.glob("*.yaml")) for folder in folders}


def config_dirs(words: Sequence[str]) -> Iterator[str]:
    """Folders of the user's that `--config-dir` or `hydra.searchpath` name."""
    for flag, value in pairwise([*words, ""]):
        if flag.startswith("hydra.searchpath="):
            yield from re.findall(r"file://([^,\]]+)", flag)
        if flag in ("--config-dir", "-cd"):
            yield value
        elif flag.startswith("--config-dir="):
            yield flag.partition("=")[2]


def checkpoint_at(ckpt_path: str) -> Path:
    """The file that `ckpt_path` names, other than "last".

    Raises:
        ValueError: there is none.
    """
    if not Path(ckpt_path).is_file():
        raise ValueError(f"ckpt_path={ckpt_path}: no such file (looked in {Path.cwd()})")
    return Path(ckpt_path)
