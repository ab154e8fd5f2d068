"""Reads a folder of pictures and labels in whatever layout it has."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detectors.data.sources.annotations import chosen
from detectors.data.sources.base import NoSplit
from detectors.data.sources.images import ImageFiles
from detectors.data.sources.layouts import ALL, FolderLayout, recognised
from detectors.data.sources.paths import existing, expanded

HELD_OUT = 0.2  # share of the pictures that validate where no split does

_log = logging.getLogger(__name__)


def read_auto(
    root: str | Path | None,
    split: str,
    beside: str | Path | None = None,
    classes: Sequence[str] | None = None,
    trust_paths: bool = False,
) -> ImageFiles:
    """The pictures of a split, in the layout that is recognised (`layouts.KINDS`).

    Where the folder has no validation split, `HELD_OUT` of the training pictures are it: those
    whose names have the lowest hashes, so that a picture stays where it is when others come.

    Args:
        root: folder of the data, or the yaml file of a YOLO data set.
        split: train, val or test.
        beside: folder of the other split where the splits lie apart, each without splits of its
            own; None, or the root itself: all lies in one folder.
        classes: names expected; None: those of the data, in their order, or else of the alphabet.
        trust_paths: files may name pictures out of the folder.

    Raises:
        NoSplit: there is none of that name.
        ValueError: no layout is recognised or several are, or the reader of the layout refuses the
            files.
    """
    if root is None:
        raise ValueError(
            "data.root has no value: name the folder of your pictures and labels, "
            "data.root=FOLDER, or one for each split, data.train.root=FOLDER data.val.root=FOLDER"
        )
    folder = existing(expanded(root), "folder of data")
    layout = recognised(folder)
    layouts = [layout]
    if beside is not None and (other := expanded(beside)).resolve() != folder.resolve():
        layouts.append(recognised(existing(other, "folder of data")))
    apart = len(layouts) > 1
    names = classes or _names(layouts)
    whole = next((s for s in ("train", ALL) if s in layout.splits), None)
    if split in layout.splits and (split != "train" or "val" in layout.splits or apart):
        _log.info("%s: %s, its split %s", folder, layout.name, split)
        return layout.splits[split](names, trust_paths)
    if apart and len(layout.splits) == 1:
        _log.info("%s: %s, all of it for the split %s", folder, layout.name, split)
        return next(iter(layout.splits.values()))(names, trust_paths)
    if split not in ("train", "val") or whole is None:
        has = ", ".join(filter(None, layout.splits)) or "none"
        raise NoSplit(f"{folder} has no split {split}; its splits: {has}")
    every = layout.splits[whole](names, trust_paths)
    part = drawn(every, split)
    _log.info(
        "%s: %s without a validation split; %s are %d of its %d pictures, by a hash of their names",
        *(folder, layout.name, split, len(part), len(every)),
    )
    return part


def _names(layouts: Sequence[FolderLayout]) -> Sequence[str] | None:
    """Of all classes of all folders; None where each file tells them."""
    every = [layout.names() for layout in layouts]
    if any(names is None for names in every):
        return None
    longest = max((names or () for names in every), key=len)
    known = {name for names in every for name in names or ()}
    return longest if known == {*longest} else sorted(known)


def drawn(source: ImageFiles, split: str) -> ImageFiles:
    """The part of the pictures that trains or validates.

    Raises:
        ValueError: there are too few to have both.
    """
    if len(source) < 2:
        raise ValueError(
            f"{source.path(0)} is the only picture, which cannot both train and validate; add "
            "others, or name a folder for each: data.train.root and data.val.root"
        )
    shares = np.array([_share(Path(source.path(k)).name) for k in range(len(source))])
    held = shares < HELD_OUT
    held[shares.argmin()], held[shares.argmax()] = True, False
    rows = np.flatnonzero(held if split == "val" else ~held)
    return ImageFiles(chosen(source.annotations, rows), [source.path(row) for row in rows.tolist()])


def _share(name: str) -> float:
    """A number in [0, 1) that the name alone decides."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:6], "big") / 2**48
