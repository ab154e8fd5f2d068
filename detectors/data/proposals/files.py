"""Keeps proposals in an npz file, where a picture is known by what it shows, not by its name."""

import hashlib
import json
import os
import zipfile
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from detectors.data.sources.base import Source, Unreadable, path_of
from detectors.files import whole_file

FORMAT = 1
STAMPS = ".stamps"  # what the file is called beside a file of proposals
READERS = 4  # threads


class ProposalFile(NamedTuple):
    """The proposals of some pictures; those of the one with `keys[i]` are a range of the boxes."""

    keys: np.ndarray  # [I] uint64, rising
    offsets: np.ndarray  # [I + 1] int64
    boxes: np.ndarray  # [n, 4] float32 xyxy pixels of the original picture, best first in each
    about: Mapping[str, Any]  # how they were made
    lost: np.ndarray = np.zeros(0, np.uint64)  # keys of pictures without boxes for an error

    def of(self, row: int) -> np.ndarray:
        """[k, 4] the boxes of a picture by its place among the keys."""
        return self.boxes[self.offsets[row] : self.offsets[row + 1]]


def picture_key(source: Source, index: int) -> tuple[int, bool]:
    """64 bits of what a picture is, and whether they are of its content: of file or pixels.

    A file that cannot be read has those of its name; who needs the picture will say that it cannot.
    """
    path = path_of(source, index)
    try:
        if path is not None:
            return _hashed(Path(path).read_bytes()), True
        image = source.image(index)
        return _hashed(repr(image.shape).encode() + image.tobytes()), True
    except (OSError, Unreadable):
        return _hashed(repr((path, index)).encode()), False


def picture_stamp(source: Source, index: int) -> int | None:
    """64 bits of a file's place, number, size and times; None where a picture is no file.

    A file whose stamp is known need not be read to know its key. The time at which a file system
    notes a change cannot be set back, as that of writing can, and moving a file is a change too.
    """
    path = path_of(source, index)
    try:
        if path is None:
            return None
        told = os.stat(path)
    except OSError:
        return None
    times = told.st_mtime_ns, told.st_ctime_ns
    place = os.path.abspath(path), told.st_dev, told.st_ino
    return _hashed(repr((*place, told.st_size, *times)).encode())


def _hashed(content: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big")


def picture_keys(source: Source, known: dict[int, int] | None = None) -> np.ndarray:
    """[I] uint64, of every picture.

    Args:
        known: keys by stamps, to which those of this source are added; files that have one of
            these are not read.
    """
    before = dict(known or {})

    def found(row: int) -> tuple[int | None, int]:
        stamp = None if known is None else picture_stamp(source, row)  # before it is read
        if stamp is not None and stamp in before:
            return stamp, before[stamp]
        key, of_content = picture_key(source, row)
        return stamp if of_content else None, key

    with ThreadPoolExecutor(READERS) as pool:
        pairs = list(pool.map(found, range(len(source))))
    if known is not None:
        known.update({stamp: key for stamp, key in pairs if stamp is not None})
    return np.array([key for _, key in pairs], np.uint64)


def packed(
    found: Mapping[int, np.ndarray], about: Mapping[str, Any], lost: Collection[int] = ()
) -> ProposalFile:
    """The boxes [k, 4] of pictures by their keys, as a file holds them.

    Args:
        lost: keys of pictures that an error has left without boxes.
    """
    keys = np.sort(np.array(list(found), np.uint64))
    parts = [np.asarray(found[int(key)], np.float32).reshape(-1, 4) for key in keys]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *parts])
    return ProposalFile(keys, offsets, boxes, about, np.array(sorted(lost), np.uint64))


def write_proposals(
    file: Path, proposals: ProposalFile, known: Mapping[int, int] = MappingProxyType({})
) -> None:
    """Write the file whole or not at all; its folder is made.

    Args:
        known: keys by stamps, which are kept beside it: they are of this machine, the file is not.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, **proposals.about}, sort_keys=True)
    arrays = proposals._asdict() | {"about": np.array(text)}
    with whole_file(file, "wb", proposals.boxes.nbytes) as opened:
        np.savez(opened, **arrays)
    if known:
        with whole_file(_beside(file), "wb") as opened:
            np.save(opened, np.array(sorted(known.items()), np.uint64))


def known_beside(file: str | Path) -> dict[int, int]:
    """Keys by stamps that `write_proposals` kept; none where that is gone."""
    try:
        return dict(np.load(_beside(Path(file)), allow_pickle=False).tolist())
    except (OSError, ValueError):
        return {}


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}{STAMPS}")


def read_proposals(file: str | Path) -> ProposalFile:
    """What `write_proposals` wrote.

    Raises:
        ValueError: there is no such file, or it is of another kind or version.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            about = json.loads(str(content["about"]))
            lost = content["lost"] if "lost" in content else np.zeros(0, np.uint64)
            keys, offsets, boxes = (content[name] for name in ("keys", "offsets", "boxes"))
    except FileNotFoundError as error:
        raise ValueError(
            f"{file} is not there: make it with `detectors propose file={file} data=...`"
        ) from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is no file of `detectors propose`") from error
    if about.pop("format", None) != FORMAT:
        raise ValueError(f"{file} was written by another version: make it again")
    return ProposalFile(keys, offsets, boxes, about, lost)


def joined_files(parts: Sequence[ProposalFile]) -> ProposalFile:
    """One file of several that were made alike; the last one counts that has a picture."""
    found = {int(key): part.of(row) for part in parts for row, key in enumerate(part.keys)}
    lost: set[int] = set()
    for part in parts:
        lost = (lost - {*part.keys.tolist()}) | {*part.lost.tolist()}
    return packed(found, parts[0].about, lost)
