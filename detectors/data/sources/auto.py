"""Reads a folder of pictures and labels in whatever layout it has."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from detectors.data.sources.annotations import chosen
from detectors.data.sources.images import ImageFiles
from detectors.data.sources.layouts import ALL, FolderLayout, recognised
from detectors.data.sources.paths import existing, expanded

HELD_OUT = 0.2  # share of the pictures that validate where no split does

_log = logging.getLogger(__name__)


def read_auto(
    root: str | Path | None,
    split: str,
    beside: Sequence[str | Path | None] = (),
    classes: Sequence[str] | None = None,
    trust_paths: bool = False,
) -> ImageFiles:
    """The pictures of a split, in the layout that is recognised (`layouts.KINDS`).

    Where the folder has no validation split, about `HELD_OUT` of the pictures are it: those whose
    names have hashes below that share, so that a picture stays where it is when others come.

    Args:
        root: folder of the data, or the json of COCO's or the yaml file of YOLO's.
        split: train, val or test.
        beside: roots of the other splits. Where they are others, a folder without splits of its own
            is this split as a whole.
        classes: names expected; None: those of the data, in their order, or else of the alphabet.
        trust_paths: files may name pictures out of the folder.

    Raises:
        ValueError: no layout is recognised or several are, there is no such split, or the reader
            of the layout refuses the files.
    """
    if root is None:
        raise ValueError(
            "data.root has no value: name the folder of your pictures and labels, "
            "data.root=FOLDER, or one for each split, data.train.root=FOLDER data.val.root=FOLDER"
        )
    folder = existing(expanded(root), "data.root:")
    others = [existing(expanded(one), "data.root:") for one in beside if one is not None]
    others = [other for other in others if other.resolve() != folder.resolve()]
    layouts = {one: recognised(one) for one in (folder, *others)}
    _check_apart(layouts)
    layout, names = layouts[folder], classes or _names(layouts)
    if split in layout.splits and (split != "train" or "val" in layout.splits or others):
        _log.info("%s: %s, its split %s", folder, layout.name, split)
        return layout.splits[split](names, trust_paths)
    if others and len(layout.splits) == 1:
        _log.info("%s: %s, all of it for the split %s", folder, layout.name, split)
        return next(iter(layout.splits.values()))(names, trust_paths)
    whole = next((name for name in ("train", ALL) if name in layout.splits), None)
    if split not in ("train", "val") or whole is None:
        has = ", ".join(filter(None, layout.splits)) or "none"
        raise ValueError(f"{folder} has no split {split}; its splits: {has}")
    every = layout.splits[whole](names, trust_paths)
    part = drawn(every, split)
    _log.info(
        "%s: %s without a validation split; %s are %d of its %d pictures, by a hash of their names",
        *(folder, layout.name, split, len(part), len(every)),
    )
    return part


def _check_apart(layouts: Mapping[Path, FolderLayout]) -> None:
    """Refuse a folder that lies in another whose pictures are all of one split.

    Raises:
        ValueError: names both.
    """
    for outer, layout in layouts.items():
        for inner in layouts:
            if ALL in layout.splits and outer.resolve() in inner.resolve().parents:
                raise ValueError(
                    f"{inner} lies in {outer}, which has no splits, so its pictures would be of "
                    "two splits; give each split a folder of its own"
                )


def _names(layouts: Mapping[Path, FolderLayout]) -> Sequence[str] | None:
    """Of all classes of all folders; None where each file tells them.

    Raises:
        ValueError: labels are numbers, and the folders name their classes otherwise.
    """
    every = {folder: layout.names() for folder, layout in layouts.items()}
    told = {folder: list(names) for folder, names in every.items() if names is not None}
    if len(told) < len(every):
        return None
    if any(layout.numbered for layout in layouts.values()):
        longest = max(told.values(), key=len)
        for folder, names in told.items():
            if names != longest[: len(names)]:
                raise ValueError(
                    f"{folder} has the classes {names}, another folder {longest}; labels there are "
                    "numbers, so both need the same names in the same order"
                )
        return longest
    return sorted({name for names in told.values() for name in names})


def drawn(source: ImageFiles, split: str) -> ImageFiles:
    """The part of the pictures that trains or validates.

    Copies of one picture that Roboflow made (NAME.rf.HASH.jpg) are of one part.

    Raises:
        ValueError: they cannot be parted, because they are few or have one name.
    """
    names = [Path(source.path(k)).name.partition(".rf.")[0] for k in range(len(source))]
    if len(set(names)) < 2:
        raise ValueError(
            f"{source.path(0)} and the others of its name are all the pictures there are, which "
            "cannot both train and validate; add others, or name a folder for each: "
            "data.train.root and data.val.root"
        )
    shares = np.array([_share(name) for name in names])
    held = shares < HELD_OUT
    if held.all() or not held.any():
        held = shares == shares.min()
    rows = np.flatnonzero(held if split == "val" else ~held)
    return ImageFiles(chosen(source.annotations, rows), [source.path(row) for row in rows.tolist()])


def _share(name: str) -> float:
    """A number in [0, 1) that the name alone decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48
