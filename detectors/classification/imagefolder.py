"""Reads pictures in folders by class: `root/train/CLASS/*.jpg` and `root/val/CLASS/*.jpg`."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset

from detectors.classification.crops import CenterSquare
from detectors.data.augment import Transform
from detectors.data.augment.transforms import Resize, Stretch
from detectors.data.collate import rows_of
from detectors.data.dataset import without_objects
from detectors.data.loading import Loader, check_loading, loader_arguments, on_their_way
from detectors.data.sampling import EpochSampler, ResumableLoader, ShareSampler
from detectors.data.shared_memory import check_fits
from detectors.data.sources.annotations import Findings, examples
from detectors.data.sources.images import decoded, encoded
from detectors.data.sources.paths import existing, expanded
from detectors.data.unreadable import Tally, check_readable, check_share, first_readable
from detectors.files import PICTURES
from detectors.random_streams import stream
from detectors.structures import LabelledImages


@dataclass(frozen=True)
class Finish:
    """The last epochs of a run, at another size and learning rate (YOLOv2, sec. 2).

    Args:
        size: pixels.
        epochs: how many of the run's.
        lr: learning rate; the schedule starts anew from it.
    """

    size: int
    epochs: int
    lr: float

    def start(self, max_epochs: int | None) -> int:
        """The first epoch of the finish.

        Raises:
            ValueError: nothing of the run would be before it, or it has no end.
        """
        if not 0 < self.epochs < (max_epochs or 0):
            raise ValueError(
                f"finish.epochs={self.epochs} are the last of trainer.max_epochs={max_epochs}, "
                "which must be more: train longer, finish shorter, or leave it out, finish=null"
            )
        return (max_epochs or 0) - self.epochs


class LabelledFiles:
    """Pictures of one split with a label each; paths lie packed, for many workers to share.

    Raises:
        ValueError: the folder is absent, or has no class, or a class has no picture.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = existing(folder, "folder")
        inside = sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
        if not inside:
            raise ValueError(f"{folder} has no folder in it; expected one of pictures per class")
        findings = Findings(str(folder))
        pictures = _pictures(inside, findings)
        empty = [path.name for path, names in zip(inside, pictures, strict=True) if not names]
        if empty:
            raise ValueError(
                f"{folder}: {len(empty)} classes have no picture: {examples(empty)}; add some "
                f"({', '.join(PICTURES)}) or take the folder away"
            )
        findings.log(images=sum(map(len, pictures)))
        self.classes = tuple(path.name for path in inside)
        self.labels = np.repeat(np.arange(len(inside)), [len(names) for names in pictures])
        self.names = np.array(
            [
                os.fsencode(f"{name}/{picture}")
                for name, names in zip(self.classes, pictures, strict=True)
                for picture in names
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB.

        Raises:
            Unreadable: the file is damaged or gone.
        """
        path = str(self.folder / os.fsdecode(self.names[index]))
        return decoded(encoded(path), path, upright=True)


def _pictures(folders: Sequence[Path], findings: Findings) -> list[list[str]]:
    """Names of the pictures in each folder, in order; notes what else is there."""
    found, others = [], []
    for folder in folders:
        names = sorted(os.listdir(folder))
        pictures = [name for name in names if name.lower().endswith(PICTURES) and name[0] != "."]
        others += [folder / name for name in sorted({*names} - {*pictures})]
        found.append(pictures)
    findings.add("entries that are no pictures left out", others)
    return found


class LabelledDataset(Dataset[tuple[np.ndarray, int, tuple[int, ...]]]):
    """Pictures [S, S, 3] and labels, a pure function of the seed and the key (epoch, index).

    With them come the numbers of pictures that could not be read, of which they take the place.

    Args:
        files: what is read.
        transforms: by name, in their order, each with a generator of its own name.
        resizes: brings a picture to the size of the run, and to that of its finish.
        change: epoch from which the second one is used.
        seed: of all that is drawn.
        tally: how many pictures may be unreadable; None: none.
    """

    def __init__(
        self,
        files: LabelledFiles,
        transforms: Mapping[str, Transform],
        resizes: tuple[Resize, Resize],
        change: int,
        seed: int,
        tally: Tally | None = None,
    ) -> None:
        self.files, self.transforms, self.seed = files, dict(transforms), seed
        self.resizes, self.change, self.tally = resizes, change, tally

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, key: tuple[int, int]) -> tuple[np.ndarray, int, tuple[int, ...]]:
        epoch, index = key
        make = partial(self._labelled, epoch, index)
        (image, label), lost = first_readable(index, len(self), self.tally, make)
        return image, label, lost

    def _labelled(self, epoch: int, index: int, row: int) -> tuple[np.ndarray, int]:
        """A picture and its label, with the draws of the place `index`."""
        sample = without_objects(self.files.image(row), row)
        for name, transform in self.transforms.items():
            sample = transform(sample, stream(self.seed, epoch, index, name=name))
        resize = self.resizes[epoch >= self.change]
        return resize(sample).image, int(self.files.labels[row])


class EpochShareSampler(ShareSampler):
    """Keys (epoch, index) of one rank's share, in order."""

    def __iter__(self) -> Iterator[tuple[int, int]]:  # type: ignore[override]
        return iter([(self.epoch, index) for index in self.indices])


class ImageFolder(LightningDataModule):
    """Loaders of `LabelledImages`; a class is a folder, labels follow the order of the names.

    Training pictures are augmented and stretched to the size, validation pictures are the largest
    square in the middle of each.

    Args:
        root: holds `train` and `val`.
        num_classes: what the model was told; checked against the folders.
        image_size: pixels.
        finish: another size for the last epochs; None: without it.
        augment: named transforms of the training pictures, in their order.
        batch_size: images per device.
        num_workers: processes that prepare batches; batches do not depend on it.
        seed: order and augmentation are a function of it, the epoch and the index.
        max_unreadable: share of the training pictures in whose place the next one may be taken
            because they cannot be read; each is named once. A validation stops at any.
        read_all: decode all pictures before a run, to find those that cannot be read.

    Raises:
        ValueError: a number is out of its range; or, when read, a folder is
            absent or empty, or classes are not those expected.
    """

    def __init__(
        self,
        root: str,
        num_classes: int,
        image_size: int,
        finish: Finish | None = None,
        augment: Mapping[str, Transform | None] | None = None,
        batch_size: int = 128,
        num_workers: int = 2,
        seed: int = 0,
        max_unreadable: float = 0.01,
        read_all: bool = False,
    ) -> None:
        super().__init__()
        check_loading(batch_size, num_workers)
        check_share(max_unreadable)
        self.root = root
        self.num_classes = num_classes
        self.sizes = (image_size, finish.size if finish else image_size)
        self.finish = finish
        self.augment = {name: step for name, step in (augment or {}).items() if step is not None}
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.max_unreadable = max_unreadable
        self.read_all = read_all
        self.files: dict[str, LabelledFiles] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of every label."""
        return self.files["train"].classes

    def setup(self, stage: str) -> None:
        """Lists both splits, so that what is wrong shows before the first step."""
        if not self.files:
            root = existing(expanded(self.root), "data.root")
            files = {split: LabelledFiles(root / split) for split in ("train", "val")}
            self._check_classes(files["train"].classes, files["val"].classes)
            rank, world = self._place()
            for split, found in files.items() if self.read_all else ():
                check_readable(found, range(rank, len(found), world), split)
            self.files = files
            pictures, pixels = max(map(len, files.values())), max(self.sizes) ** 2
            check_fits(on_their_way(pictures, self.batch_size, self.num_workers, pixels))

    def _check_classes(self, train: Sequence[str], val: Sequence[str]) -> None:
        if train != val:
            differing = sorted(set(train) ^ set(val))
            raise ValueError(
                f"{self.root}: train has {len(train)} classes and val {len(val)}; only one of them "
                f"has {examples(differing)}: both need the same folders"
            )
        if len(train) != self.num_classes:
            raise ValueError(
                f"{self.root} has {len(train)} classes, but data.num_classes is "
                f"{self.num_classes}; set data.num_classes={len(train)}"
            )

    def train_dataloader(self) -> DataLoader:
        files = self.files["train"]
        sampler = EpochSampler(len(files), self.batch_size, self.seed, *self._place())
        data = self._dataset("train", self.augment, Stretch, Tally(files, self.max_unreadable))
        return ResumableLoader(data, sampler=sampler, drop_last=True, **self._arguments())

    def val_dataloader(self) -> DataLoader:
        sampler = EpochShareSampler(len(self.files["val"]), *self._place())
        sampler.set_epoch(self.trainer.current_epoch if self.trainer else 0)
        data = self._dataset("val", {}, CenterSquare)
        return Loader(data, sampler=sampler, **self._arguments())

    def _dataset(
        self,
        split: str,
        transforms: Mapping[str, Transform],
        resize: Callable[[int], Resize],
        tally: Tally | None = None,
    ) -> LabelledDataset:
        resizes = resize(self.sizes[0]), resize(self.sizes[1])
        files, change = self.files[split], self._change()
        return LabelledDataset(files, transforms, resizes, change, self.seed, tally)

    def _change(self) -> int:
        """Epoch of the second size."""
        epochs = self.trainer.max_epochs if self.trainer else None
        return self.finish.start(epochs) if self.finish else 0

    def _place(self) -> tuple[int, int]:
        """(rank, number of processes) of the run; without a trainer it is the only one."""
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _arguments(self) -> dict[str, Any]:
        return loader_arguments(self.batch_size, self.num_workers, collated)


def collated(samples: Sequence[tuple[np.ndarray, int, tuple[int, ...]]]) -> LabelledImages:
    """A batch; images are in channels-last memory, which is how they lie when decoded."""
    images, labels, unreadable = zip(*samples, strict=True)
    batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
    return LabelledImages(batch, torch.tensor(labels), rows_of(unreadable))
