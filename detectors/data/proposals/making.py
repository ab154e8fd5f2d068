"""Makes the proposals of many pictures, in several processes, and goes on where it was stopped."""

import hashlib
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import Dataset

from detectors.data.loading import Loader, begin_worker
from detectors.data.proposals import Method
from detectors.data.proposals.files import (
    ProposalFile,
    joined_files,
    known_beside,
    packed,
    picture_keys,
    read_proposals,
    write_proposals,
)
from detectors.data.sources.base import Source, Unreadable
from detectors.random_streams import stream

KEPT_EVERY = 20.0  # seconds: a run that is killed loses no more


class Made(NamedTuple):
    """The proposals of a picture, or why it has none."""

    key: int
    boxes: np.ndarray  # [k, 4] float32
    reason: str | None  # of a picture that cannot be read
    seconds: float


class Making(Dataset[Made]):
    """The proposals of some pictures by number.

    What is drawn for a picture depends on the seed and on what it shows, on nothing else.

    Args:
        work: source, picture and key of each.
        method: makes them.
        count: boxes of a picture that are kept at most.
        seed: of what the method draws.
    """

    def __init__(
        self, work: list[tuple[Source, int, int]], method: Method, count: int, seed: int
    ) -> None:
        self.work, self.method, self.count, self.seed = work, method, count, seed

    def __len__(self) -> int:
        return len(self.work)

    def __getitem__(self, index: int) -> Made:
        source, row, key = self.work[index]
        begun = time.process_time()
        try:
            image = source.image(row)
        except Unreadable as error:
            return Made(key, np.zeros((0, 4), np.float32), str(error), 0.0)
        boxes = self.method(image, stream(self.seed, key, name="proposals"))
        return Made(key, boxes[: self.count], None, time.process_time() - begun)


class ProposalStore:
    """A file of proposals that grows; what is new is kept beside it until all is there.

    Args:
        file: an existing one is added to.
        about: how the proposals are made.

    Raises:
        ValueError: the file is there, and its proposals were made in another way.
    """

    def __init__(self, file: Path, about: Mapping[str, Any]) -> None:
        self.file, self.about = file, json.loads(json.dumps(about))
        way = hashlib.sha256(json.dumps(self.about, sort_keys=True).encode()).hexdigest()[:8]
        self.folder = file.with_name(f"{file.name}.{way}.parts")
        kept = [file] if file.exists() else []
        self.parts = [read_proposals(part) for part in [*kept, *sorted(self.folder.glob("*.npz"))]]
        if kept and self.parts[0].about != self.about:
            raise ValueError(
                f"{file} holds proposals that were made with {_told(self.parts[0].about)}, and now "
                f"they are to be made with {_told(self.about)}: choose another file=FILE"
            )
        self.known = known_beside(file)
        for part in self.folder.glob("*.npz"):
            self.known |= known_beside(part)
        self.new: dict[int, np.ndarray] = {}
        self.lost: set[int] = set()
        self.kept = time.monotonic()

    def keys(self) -> set[int]:
        """Those of the pictures that need no work; what an error prevented is tried again."""
        whole = joined_files(self.parts) if self.parts else packed({}, self.about)
        return {*whole.keys.tolist()} - {*whole.lost.tolist()}

    def keys_of(self, source: Source) -> np.ndarray:
        """[I] of the pictures of a source, whose files the proposals will be known by."""
        return picture_keys(source, self.known)

    def add(self, made: Made) -> None:
        """Take the proposals of a picture, and now and then bring what is new to the disk.

        A picture that cannot be read has none in the file, and is not brought to the disk before.
        """
        if made.reason is not None:
            self.lost.add(made.key)
            return
        self.new[made.key] = made.boxes
        if time.monotonic() - self.kept >= KEPT_EVERY:
            self.keep()

    def keep(self) -> None:
        """Bring what is new to the disk."""
        if self.new:
            self.parts.append(packed(self.new, self.about))
            name = f"{len(list(self.folder.glob('*.npz'))):06d}.npz"
            write_proposals(self.folder / name, self.parts[-1], self.known)
        self.new, self.kept = {}, time.monotonic()

    def finish(self) -> ProposalFile:
        """Write the file with all that is there; the parts beside it go."""
        none = dict.fromkeys(self.lost, np.zeros((0, 4), np.float32))
        whole = joined_files([*self.parts, packed({**none, **self.new}, self.about, self.lost)])
        write_proposals(self.file, whole, self.known)
        shutil.rmtree(self.folder, ignore_errors=True)
        return whole


def _told(about: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(about.items()))


def work_of(sources: Mapping[str, Source], store: ProposalStore) -> list[tuple[Source, int, int]]:
    """Source, number and key of every picture that the store lacks, each of them once."""
    left: dict[int, tuple[Source, int, int]] = {}
    done = store.keys()
    for source in sources.values():
        for row, key in enumerate(store.keys_of(source).tolist()):
            if key not in done:
                left.setdefault(key, (source, row, key))
    return list(left.values())


def made(making: Making, processes: int) -> Iterator[Made]:
    """The proposals of all pictures in order.

    Args:
        processes: that make them beside this one; 0: it does so itself.
    """
    yield from Loader(
        making,
        batch_size=None,
        num_workers=processes,
        collate_fn=_as_it_is,
        worker_init_fn=begin_worker,
        prefetch_factor=4 if processes else None,
    )


def _as_it_is(item: Any) -> Any:
    return item
