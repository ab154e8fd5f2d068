"""Keeps proposals in an npz file, where a picture is known by what it shows, not by its name."""

import hashlib
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from detectors.data.sources.base import Source, Unreadable, path_of
from detectors.files import whole_file

FORMAT = 2
READERS = 4  # threads


class ProposalFile(NamedTuple):
    """The proposals of some pictures; those of the one with `keys[i]` are a range of the boxes."""

    keys: np.ndarray  # [I] uint64, rising
    offsets: np.ndarray  # [I + 1] int64
    boxes: np.ndarray  # [n, 4] float32 xyxy pixels of the original picture, best first in each
    about: Mapping[str, Any]  # how they were made
    stamps: np.ndarray = np.zeros((0, 2), np.uint64)  # [S, 2] of `picture_stamp`, and the key

    @property
    def known(self) -> dict[int, int]:
        """The keys of pictures' files by their stamps, which are cheaper to find."""
        return dict(self.stamps.tolist())

    def of(self, row: int) -> np.ndarray:
        """[k, 4] the boxes of a picture by its place among the keys."""
        return self.boxes[self.offsets[row] : self.offsets[row + 1]]


def picture_key(source: Source, index: int) -> int:
    """64 bits of what a picture is: of its file, or of its pixels where it has none.

    A file that is gone has those of its name; who needs the picture will say that it is.
    """
    path = path_of(source, index)
    content = hashlib.blake2b(digest_size=8)
    try:
        if path is not None:
            content.update(Path(path).read_bytes())
        else:
            image = source.image(index)
            content.update(repr(image.shape).encode() + image.tobytes())
    except (OSError, Unreadable):
        content.update(repr((path, index)).encode())
    return int.from_bytes(content.digest(), "big")


def picture_stamp(source: Source, index: int) -> int | None:
    """64 bits of a file's place, size and time of change; None where a picture is no file.

    A file whose stamp is known need not be read to know its key. One that changed has another.
    """
    path = path_of(source, index)
    try:
        if path is None:
            return None
        told = os.stat(path)
    except OSError:
        return None
    said = repr((os.path.abspath(path), told.st_size, told.st_mtime_ns)).encode()
    return int.from_bytes(hashlib.blake2b(said, digest_size=8).digest(), "big")


def picture_keys(source: Source, known: Mapping[int, int] = MappingProxyType({})) -> np.ndarray:
    """[I] uint64, of every picture.

    Args:
        known: keys by stamps; files that have one of these are not read.
    """

    def found(row: int) -> int:
        stamp = picture_stamp(source, row) if known else None
        if stamp is not None and stamp in known:
            return known[stamp]
        return picture_key(source, row)

    with ThreadPoolExecutor(READERS) as pool:
        return np.array(list(pool.map(found, range(len(source)))), np.uint64)


def stamps_of(source: Source, keys: np.ndarray) -> dict[int, int]:
    """The keys [I] of a source's files by their stamps."""
    stamps = (picture_stamp(source, row) for row in range(len(source)))
    pairs = zip(stamps, keys.tolist(), strict=True)
    return {stamp: key for stamp, key in pairs if stamp is not None}


def packed(
    found: Mapping[int, np.ndarray],
    about: Mapping[str, Any],
    stamps: Mapping[int, int] = MappingProxyType({}),
) -> ProposalFile:
    """The boxes [k, 4] of pictures by their keys, as a file holds them, and keys by stamps."""
    keys = np.sort(np.array(list(found), np.uint64))
    parts = [np.asarray(found[int(key)], np.float32).reshape(-1, 4) for key in keys]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *parts])
    rows = np.array(sorted(stamps.items()), np.uint64).reshape(-1, 2)
    return ProposalFile(keys, offsets, boxes, about, rows)


def write_proposals(file: Path, proposals: ProposalFile) -> None:
    """Write the file whole or not at all; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, **proposals.about}, sort_keys=True)
    arrays = proposals._asdict() | {"about": np.array(text)}
    with whole_file(file, "wb", proposals.boxes.nbytes) as opened:
        np.savez(opened, **arrays)


def read_proposals(file: str | Path) -> ProposalFile:
    """What `write_proposals` wrote.

    Raises:
        ValueError: there is no such file, or it is of another kind or version.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            about = json.loads(str(content["about"]))
            names = ("keys", "offsets", "boxes", "stamps")
            keys, offsets, boxes, stamps = (content[name] for name in names)
    except FileNotFoundError as error:
        raise ValueError(
            f"{file} is not there: make it with `detectors propose file={file} data=...`"
        ) from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is no file of `detectors propose`") from error
    if about.pop("format", None) != FORMAT:
        raise ValueError(f"{file} was written by another version: make it again")
    return ProposalFile(keys, offsets, boxes, about, stamps)


def joined_files(parts: Sequence[ProposalFile]) -> ProposalFile:
    """One file of several that were made alike; a picture of more than one counts once."""
    found = {int(key): part.of(row) for part in parts for row, key in enumerate(part.keys)}
    known = {stamp: key for part in parts for stamp, key in part.known.items()}
    return packed(found, parts[0].about, known)
