"""Finds the files that data sets name, and refuses those that are missing or elsewhere."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from detectors.data.sources.annotations import Findings, examples
from detectors.files import PICTURES


def expanded(path: str | Path) -> Path:
    """The path with `$NAME` and `~` replaced.

    Raises:
        ValueError: a variable is not set.
    """
    full = os.path.expanduser(os.path.expandvars(path))
    if "$DETECTORS_DATA" in full:
        raise ValueError(
            f"the environment variable DETECTORS_DATA is not set, and {path} needs it: point it "
            "at the folder that holds your data sets (export DETECTORS_DATA=/my/data), or give "
            "the path itself. BCCD is at github.com/Shenggan/BCCD_Dataset (MIT; its folder BCCD "
            "is `bccd`), COCO at cocodataset.org"
        )
    if "$" in full:
        raise ValueError(f"{path} names an environment variable that is not set: set it")
    return Path(full)


def existing(path: Path, what: str) -> Path:
    """The path itself.

    Raises:
        ValueError: there is nothing there.
    """
    if not path.exists():
        raise ValueError(f"{what} {path} does not exist; correct the path")
    return path


def present(paths: Sequence[Path], findings: Findings) -> list[int]:
    """Which of the pictures are there; each folder is listed once.

    Raises:
        ValueError: some are missing; counts them.
    """
    folders = {path.parent for path in paths}
    listed = {folder: _listing(folder) for folder in folders}
    there = [k for k, path in enumerate(paths) if path.name in listed[path.parent]]
    if len(there) < len(paths):
        missing = [path for path in paths if path.name not in listed[path.parent]]
        remedy = "complete the download or correct the folder"
        told = (
            f"{findings.origin}: {len(missing)} of {len(paths)} images are missing: "
            f"{examples(missing)}; {remedy}"
        )
        if not there:
            raise ValueError(told)
        names = [f"{path}, of {findings.origin}" for path in missing]
        findings.refuse(told, names, f"images that are missing; {remedy}", "images")
    return there


def _listing(folder: Path) -> set[str]:
    """Names of all that is no folder."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {
            entry.name
            for entry in entries
            if not entry.is_dir(follow_symlinks=False)
            and not (entry.is_symlink() and os.path.isdir(entry.path))  # loops raise in is_dir
        }


def check_one_each(paths: Iterable[Path], what: str) -> None:
    """Raises ValueError where two pictures differ in their suffix only, as they share one label."""
    first: dict[Path, Path] = {}
    for path in paths:
        other = first.setdefault(path.with_suffix(""), path)
        if other is not path:
            raise ValueError(f"{other} and {path} share one {what}; rename or delete one")


def inside(
    root: Path, names: Sequence[str], origin: str, trusted: bool, start: Path | None = None
) -> list[Path]:
    """The paths of names that an annotation file gives.

    Args:
        root: folder of the data.
        trusted: names may lead out of the root.
        start: folder that the names are relative to; None: the root.

    Raises:
        ValueError: a name leads out of the root, by `..` or because it is absolute.
    """
    if trusted:
        return [(start or root) / name for name in names]
    bases = tuple(
        os.path.join(whole, "") for whole in (os.path.abspath(root), os.path.realpath(root))
    )
    # Without `..`, which the system would follow from the target of a link.
    paths = [Path(os.path.normpath((start or root) / name)) for name in names]
    outside = [
        name
        for name, path in zip(names, paths, strict=True)
        if not os.path.join(os.path.abspath(path), "").startswith(bases)
    ]
    if outside:
        raise ValueError(
            f"{origin}: {len(outside)} paths lead out of {root}, the folder of the data: "
            f"{examples(outside)}; correct them, or set data.trust_paths=true if you know the file"
        )
    return paths


def with_slashes(names: Sequence[str], *bases: Path) -> list[str]:
    """The names, with slashes where Windows' backslashes name no file and slashes do."""

    def turned(name: str) -> str:
        new = name.replace("\\", "/")
        other = new != name and not any((base / name).exists() for base in bases)
        return new if other and any((base / new).exists() for base in bases) else name

    return [turned(name) for name in names]


def pictures_among(paths: Iterable[Path], findings: Findings) -> list[Path]:
    """Those files that are pictures of a kind that is read, in order; notes what else is there."""
    kept: list[Path] = []
    other: list[Path] = []
    hidden, odd, folders = [], [], []
    for path in sorted(paths):
        known = path.suffix.lower() in PICTURES
        if path.name.startswith("."):
            hidden += [path] * known
        elif path.is_dir():
            folders.append(path)
        elif not path.is_file():
            odd += [path] * known
        else:
            (kept if known else other).append(path)
    findings.drop("images", "hidden files", hidden)
    findings.drop("images", "pipes or broken links", odd)
    findings.add("folders not looked into", folders)
    findings.add(f"files of another kind than {', '.join(PICTURES)} left out", other)
    return kept
