"""Keeps proposals in an npz file, where a picture is known by what it shows, not by its name."""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detectors.data.sources.base import Source, Unreadable, path_of
from detectors.files import whole_file

FORMAT = 1
READERS = 4  # threads


class ProposalFile(NamedTuple):
    """The proposals of some pictures; those of the one with `keys[i]` are a range of the boxes."""

    keys: np.ndarray  # [I] uint64, rising
    offsets: np.ndarray  # [I + 1] int64
    boxes: np.ndarray  # [n, 4] float32 xyxy pixels of the original picture, best first in each
    about: Mapping[str, Any]  # how they were made

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


def picture_keys(source: Source) -> np.ndarray:
    """[I] uint64, of every picture."""
    with ThreadPoolExecutor(READERS) as pool:
        keys = list(pool.map(lambda row: picture_key(source, row), range(len(source))))
    return np.array(keys, np.uint64)


def packed(found: Mapping[int, np.ndarray], about: Mapping[str, Any]) -> ProposalFile:
    """The boxes [k, 4] of pictures by their keys, as a file holds them."""
    keys = np.sort(np.array(list(found), np.uint64))
    parts = [np.asarray(found[int(key)], np.float32).reshape(-1, 4) for key in keys]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in parts])]).astype(np.int64)
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *parts])
    return ProposalFile(keys, offsets, boxes, about)


def write_proposals(file: Path, proposals: ProposalFile) -> None:
    """Write the file whole or not at all; its folder is made."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"format": FORMAT, **proposals.about}, sort_keys=True)
    keys, offsets, boxes, _ = proposals
    with whole_file(file, "wb", boxes.nbytes) as opened:
        np.savez(opened, about=np.array(text), keys=keys, offsets=offsets, boxes=boxes)


def read_proposals(file: str | Path) -> ProposalFile:
    """What `write_proposals` wrote.

    Raises:
        ValueError: there is no such file, or it is of another kind or version.
    """
    try:
        with np.load(file, allow_pickle=False) as content:
            about = json.loads(str(content["about"]))
            keys, offsets, boxes = (content[name] for name in ("keys", "offsets", "boxes"))
    except FileNotFoundError as error:
        raise ValueError(
            f"{file} is not there: make it with `detectors propose file={file} data=...`"
        ) from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file} is no file of `detectors propose`") from error
    if about.pop("format", None) != FORMAT:
        raise ValueError(f"{file} was written by another version: make it again")
    return ProposalFile(keys, offsets, boxes, about)


def joined_files(parts: Sequence[ProposalFile]) -> ProposalFile:
    """One file of several that were made alike; a picture of more than one counts once."""
    found = {int(key): part.of(row) for part in parts for row, key in enumerate(part.keys)}
    return packed(found, parts[0].about)
