"""Finds what words name: configs of this package and of the user, their choices, checkpoints."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

PACKAGE = Path(__file__).parents[1]
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())


def key(word: str) -> str:
    """What a word sets: a dotted key or a group."""
    return word.lstrip("+~").split("=")[0]


def choices(words: Sequence[str] = ()) -> dict[str, list[str]]:
    """All choices of every group, ours and those in a folder of the user's."""
    found: dict[str, set[str]] = {}
    for pairs in (_ours(_folders(CONF)), *map(_named, map(Path, config_dirs(words)))):
        for group, name in pairs:
            found.setdefault(group, set()).add(name)
    return {group: sorted(names) for group, names in found.items() if group}


@lru_cache(maxsize=1)
def _ours(folders: object) -> list[tuple[str, str]]:
    """Those of this package, read anew when a file comes or goes."""
    return _named(CONF)


def _folders(root: Path) -> tuple[tuple[str, int], ...]:
    """Name and time of change of each folder in `root`."""
    return tuple((e.name, e.stat().st_mtime_ns) for e in os.scandir(root) if e.is_dir())


def _named(root: Path) -> list[tuple[str, str]]:
    """Group and name of each config in a folder."""
    return [(group, file.name.removesuffix(".yaml")) for group, file in _files(root)]


def written(root: Path) -> tuple[tuple[str, str, int], ...]:
    """Group, name and time of writing of the configs in a folder; primary ones have no group."""
    return tuple((group, file.name, file.stat().st_mtime_ns) for group, file in _files(root))


def _files(root: Path) -> Iterator[tuple[str, os.DirEntry]]:
    """Group and file of each config in a folder, which need not be there."""
    if not root.is_dir():
        return
    groups = [entry.name for entry in os.scandir(root) if entry.is_dir()]
    for group in ["", *groups]:
        for file in os.scandir(root / group):
            if file.name.endswith(".yaml"):
                yield group, file


def config_dirs(words: Sequence[str]) -> Iterator[str]:
    """Folders of the user's that `--config-dir` or `hydra.searchpath` name."""
    for flag, value in pairwise([*words, ""]):
        if flag.startswith("hydra.searchpath="):
            yield from re.findall(r"file://([^,\]'\"]+)", flag)
        if flag in ("--config-dir", "-cd"):
            yield value
        elif flag.startswith("--config-dir="):
            yield flag.partition("=")[2]


def naming(folders: Sequence[str]) -> list[str]:
    """Arguments of a command line that name folders of configs, of which the flag takes one."""
    first, others = folders[:1], [f"file://{folder}" for folder in folders[1:]]
    flags = [argument for folder in first for argument in ("--config-dir", folder)]
    return [*flags, *([f"hydra.searchpath=[{','.join(others)}]"] if others else [])]


def checkpoint_at(ckpt_path: str) -> Path:
    """The file that `ckpt_path` names, other than "last".

    Raises:
        ValueError: there is none.
    """
    path = Path(ckpt_path)
    if path.is_dir():
        raise ValueError(f"ckpt_path={ckpt_path} is a folder, expected a file: {_within(path)}")
    if not path.is_file():
        raise ValueError(f"ckpt_path={ckpt_path}: no such file (looked in {Path.cwd()})")
    return path


def _within(folder: Path) -> str:
    """What to name instead of a folder; a run keeps its checkpoints in one of their own."""
    files = [file for place in (".", "checkpoints") for file in (folder / place).glob("*.ckpt")]
    newest = max(
        files, key=lambda file: (file.name == "last.ckpt", file.stat().st_mtime), default=None
    )
    if newest is None:
        return "it has no checkpoint, nor has a folder `checkpoints` in it; name another"
    return f"say ckpt_path={newest}"
