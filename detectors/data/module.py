"""Reads the splits of detection data and loads them in batches."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch.utils.data import DataLoader

from detectors.data.augment import Mix, Transform
from detectors.data.augment.transforms import Resize, scale_free
from detectors.data.cache import Cache
from detectors.data.closing import Closing
from detectors.data.collate import collated
from detectors.data.dataset import DetectionDataset, cached_sizes
from detectors.data.epoch_order import Neighbours
from detectors.data.loading import (
    PREFETCHED,
    Loader,
    check_loading,
    loader_arguments,
    on_their_way,
)
from detectors.data.multiscale import Multiscale
from detectors.data.proposals.feeding import PictureProposals
from detectors.data.proposals.files import ProposalFile, known_beside, read_proposals
from detectors.data.ranges import check, whole
from detectors.data.recent import Recent
from detectors.data.repeat_factor import RepeatFactor
from detectors.data.sampling import EpochSampler, ResumableLoader, ShareSampler
from detectors.data.shared_memory import check_fits, workers_are_forked
from detectors.data.shared_recent import SharedRecent
from detectors.data.sources.annotations import class_names
from detectors.data.sources.base import Source, path_of
from detectors.data.sources.first import First
from detectors.data.sources.one_object import LargestObject, check_one_object
from detectors.data.sources.relabelled import Relabelled
from detectors.data.unreadable import Tally, check_readable, check_share
from detectors.structures import Annotations

SPLITS = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}  # of each stage
CACHED = ("train", "val")
Reader = Callable[[], Source]

_log = logging.getLogger(__name__)


class DetectionData:
    """Loaders of `Batch`; nothing is read before it is needed, each split once.

    `module.LitData` hands it to a Lightning `Trainer` and sets `place`. Who has a model that was
    trained already sets `order`, the names of its labels: then the data have these labels.

    Args:
        train: reads the training split.
        val: reads the validation split.
        num_classes: what the model was told; checked against the data. None: it was not told yet.
        resize: brings pictures onto the canvas of the network, for all splits.
        test: reads the test split; None: there is none.
        classes: names expected; None: those of the data.
        augment: named transforms of the training pictures, in their order; None: without it.
        mix: named mixes of several augmented training pictures, in their order; None: without it.
        closing: epochs without mixes at the end; None: all have them.
        balance: how often each training picture is seen; None: once an epoch.
        multiscale: sizes of the training canvas; None: always that of `resize`.
        cache: "ram" keeps the pictures of training and validation in memory, once for all processes
            of the machine: on the canvas where no transform needs more, else as decoded. It changes
            no batch. None: they are read anew each time, or once for a block of `mix_block`.
        mix_block: pictures of the epoch's order among which a mix finds the partners of a sample
            (`Neighbours`); they are kept for as long. None: among all.
        decode: "exact", or "reduced": training pictures that come to the canvas first are decoded
            at a part of their size if that is enough, which changes them a little.
        batch_size: images per device.
        num_workers: processes that prepare batches; batches do not depend on it.
        seed: order and augmentation are a function of it, the epoch and the index.
        min_objects: rows of the smallest bucket of targets; larger ones double it.
        max_unreadable: share of the training pictures in whose place the next one may be taken
            because they cannot be read; each is named once. An evaluation stops at any.
        read_all: decode all pictures before a run, to find those that cannot be read.
        overfit: pictures that are learnt by heart: the first so many of `train` that have an object
            are training and validation, without augmentation, mixes, balance and other sizes.
            None: all are learnt.
        objects: "all"; or "one": a picture with several is refused; or "largest": of several the
            largest counts and the others are ignored.
        proposals: a file of `detectors propose` with boxes of these pictures for a second stage.
        trust_paths, root: what the config hands to the readers; they stand here so that one word
            serves all splits.

    Raises:
        ValueError: a number is out of its range, a word is none of those known, or `closing` has no
            mix to end; or, when read, the splits disagree with `num_classes`, `classes` or each
            other.
    """

    def __init__(
        self,
        train: Reader,
        val: Reader,
        num_classes: int | None,
        resize: Resize,
        test: Reader | None = None,
        classes: Sequence[str] | None = None,
        augment: Mapping[str, Transform | None] | None = None,
        mix: Mapping[str, Mix | None] | None = None,
        closing: Closing | None = None,
        balance: RepeatFactor | None = None,
        multiscale: Multiscale | None = None,
        cache: str | None = None,
        mix_block: int | None = None,
        decode: str = "exact",
        batch_size: int = 16,
        num_workers: int = 2,
        seed: int = 0,
        min_objects: int = 8,
        max_unreadable: float = 0.01,
        read_all: bool = False,
        overfit: int | None = None,
        objects: str = "all",
        proposals: str | None = None,
        trust_paths: bool = False,
        root: str | None = None,
    ) -> None:
        check_loading(batch_size, num_workers)
        check("data", whole("min_objects", min_objects, 1), whole("seed", seed, 0))
        if mix_block is not None:
            check("data", whole("mix_block", mix_block, 1))
        check_share(max_unreadable)
        if cache not in (None, "ram"):
            raise ValueError(f"found data.cache={cache}, expected null or ram")
        if decode not in ("exact", "reduced"):
            raise ValueError(f"found data.decode={decode}, expected exact or reduced")
        if objects not in ("all", "one", "largest"):
            raise ValueError(f"found data.objects={objects}, expected all, one or largest")
        if overfit is not None:
            check("data", whole("overfit", overfit, 1))
            _log.warning("data.overfit=%d: so many pictures alone, without augmentation", overfit)
            val = train
            augment, mix, closing, balance, multiscale = None, None, None, None, None
        self.readers = {"train": train, "val": val, "test": test}
        roots = [getattr(read, "keywords", {}).get("root") for read in self.readers.values()]
        if root is not None and root not in roots:
            raise ValueError(f"data.root={root}: no split of these data is read from it; leave it")
        self.num_classes = num_classes
        self.resize = resize
        self.expected = None if classes is None else class_names(classes, "data.classes")
        self.augment = {name: step for name, step in (augment or {}).items() if step is not None}
        self.mix = {name: step for name, step in (mix or {}).items() if step is not None}
        if mix_block is not None and not mix and overfit is None:
            raise ValueError(
                f"data.mix_block={mix_block} is about partners of a mix, and data.mix has none: "
                "leave it, or add a mix, such as trick=[mosaic]"
            )
        if closing is not None and not self.mix:
            raise ValueError(
                "closing_mosaic ends the mixes of data.mix, and there is none; add a mix, such as "
                "trick=[mosaic,closing_mosaic]"
            )
        if proposals is not None and self.mix:
            raise ValueError(
                f"data.proposals={proposals} are of single pictures, and {', '.join(self.mix)} "
                "makes one of several, which has none: leave out the trick or the file"
            )
        self.closing = closing
        self.balance = balance
        self.multiscale = multiscale
        self.cache = cache
        self.mix_block = mix_block
        self.decode = decode
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.seed = seed
        self.min_objects = min_objects
        self.max_unreadable = max_unreadable
        self.read_all = read_all
        self.overfit = overfit
        self.objects = objects
        self.proposals = proposals
        self.trust_paths = trust_paths
        self.root = root
        self.place = (0, 1)  # rank of this process, and how many there are
        self.order: tuple[str, ...] | None = None  # names of a model's labels
        self._sources: dict[Reader, Source] = {}
        self._caches: dict[str, Cache] = {}
        self._proposals: dict[Reader, PictureProposals] = {}

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of every label."""
        return self.order or self.expected or self.annotations("val").classes

    def source(self, split: str) -> Source:
        """The pictures of "train", "val" or "test", read at the first call.

        Raises:
            ValueError: there is no such split.
        """
        reader = self.readers.get(split)
        if reader is None:
            here = ", ".join(name for name, reader in self.readers.items() if reader is not None)
            raise ValueError(
                f"the data have no split {split}: use one of {here}, or let data.{split} say how "
                "it is read (data=auto_test data.root=FOLDER: of the folder that data=auto reads)"
            )
        if reader not in self._sources:
            source = reader()
            self._check_classes(split, source.annotations.classes)
            _check_objects(split, source.annotations)
            if self.overfit is not None and split in SPLITS["fit"]:
                source = First(source, self.overfit)
            self._sources[reader] = self._ordered(split, self._chosen(split, source))
        return self._sources[reader]

    def _chosen(self, split: str, source: Source) -> Source:
        """The source with the objects that count, as `objects` says."""
        if self.objects == "largest":
            return LargestObject(source, split)
        if self.objects == "one":
            check_one_object(source, split)
        return source

    def _ordered(self, split: str, source: Source) -> Source:
        """The source with the labels of the model, if there is one."""
        if self.order in (None, source.annotations.classes):
            return source
        assert self.order is not None
        return Relabelled(source, self.order, split)

    def proposals_of(self, split: str) -> PictureProposals | None:
        """The proposals of a split's pictures, read at the first call; None: there are none.

        Raises:
            ValueError: the file is of other data, or lacks pictures of the split.
        """
        if self.proposals is None:
            return None
        source, reader = self.source(split), self.readers[split]
        assert reader is not None
        if reader not in self._proposals:
            where = f"data.proposals={self.proposals}, {split}"
            known = known_beside(self.proposals)
            self._proposals[reader] = PictureProposals(self._file(), source, where, known)
        return self._proposals[reader]

    def _file(self) -> ProposalFile:
        """What is in the file of proposals, shared by all splits."""
        assert self.proposals is not None
        if self._proposals:
            return next(iter(self._proposals.values())).proposals
        return read_proposals(self.proposals)

    def annotations(self, split: str) -> Annotations:
        return self.source(split).annotations

    def _check_classes(self, split: str, found: tuple[str, ...]) -> None:
        if self.num_classes not in (None, len(found)):
            raise ValueError(
                f"{split} has {len(found)} classes {found}, but data.num_classes is "
                f"{self.num_classes}; set data.num_classes={len(found)}"
            )
        known = {source.annotations.classes for source in self._sources.values()}
        if self.order is not None:  # each split is compared with the model
            known = set()
        for expected in known | ({self.expected} if self.expected else set()):
            if found != expected:
                raise ValueError(
                    f"{split} has the classes {list(found)}, expected {list(expected)}, as "
                    f"{'data.classes says' if expected == self.expected else 'the other splits'}; "
                    "give all splits the same classes in the same order"
                )

    def setup(self, stage: str) -> None:
        """Reads the splits of the stage, so that what is wrong shows before the first step."""
        splits = SPLITS.get(stage, ("val",))
        self.check_memory(*splits)
        for split in splits:
            source = self.source(split)
            if self.read_all:
                rank, world = self.place
                check_readable(source, range(rank, len(source), world), split)

    def check_memory(self, *splits: str) -> None:
        """Refuse caches and batches on their way for which there is too little shared memory.

        Raises:
            ValueError: as `check_fits`.
        """
        pictures = max(len(self.source(split)) for split in splits)
        pixels = max(height * width for height, width in self.canvases())
        cached = [s for s in splits if self.cache and s in CACHED and s not in self._caches]
        caches = {
            f"the {split} pictures of data.cache=ram": Cache.size(self._cached_sizes(split))
            for split in cached
        }
        ready = on_their_way(pictures, self.batch_size, self.num_workers, pixels)
        check_fits({**caches, **ready})

    def canvases(self) -> set[tuple[int, int]]:
        """All (height, width) in pixels that batches may have."""
        sides = self.multiscale.sides if self.multiscale else ()
        return {self.resize.canvas, *(self.resize.sized(side).canvas for side in sides)}

    def train_dataloader(self) -> ResumableLoader:
        """Full batches of the training split, shuffled, augmented and mixed; goes on mid-epoch."""
        source, sampler = self.source("train"), self._sampler(*self.place)
        near = None
        if self.mix and self.mix_block is not None:
            near = Neighbours(sampler.order, self.mix_block)
        proposals = self.proposals_of("train")
        data = DetectionDataset(
            source,
            self.augment,
            self.resize,
            self.seed,
            self.mix,
            self.closing,
            self._cache("train") or (self._recent(near.block) if near else None),
            self.tally("train"),
            near,
            self._reduced(source),
            proposals,
        )
        arguments = self._arguments(proposals)
        return ResumableLoader(data, sampler=sampler, drop_last=True, **arguments)

    def _recent(self, block: int) -> Recent | SharedRecent:
        """Where the pictures of a block are kept: by workers that are forked, for all of them."""
        sizes = self._cached_sizes("train")
        if not self.num_workers or not workers_are_forked():
            return Recent(sizes)
        begun = self.num_workers * (PREFETCHED + 1) * self.batch_size
        return SharedRecent(sizes, begun + 2 * block, self.num_workers)

    def _reduced(self, source: Source) -> bool:
        """Whether training pictures are decoded at a part of their size.

        Raises:
            ValueError: they were to be, and never would.
        """
        if self.decode == "exact":
            return False
        why = None
        if path_of(source, 0) is None:
            why = "these pictures are no files"
        elif self.multiscale is not None or not scale_free(self.augment):
            why = "crops, or canvases that change, need pictures in their own size"
        if why is not None:
            raise ValueError(f"data.decode=reduced would change nothing: {why}; leave it exact")
        return True

    def check_batches(self, world: int) -> None:
        """Refuse batches for which the training split has too few pictures.

        Args:
            world: processes that train, each with a batch.

        Raises:
            ValueError: names both numbers; or pictures were to be decoded reduced, and never would.
        """
        self._sampler(0, world)
        self._reduced(self.source("train"))

    def _sampler(self, rank: int, world: int) -> EpochSampler:
        source = self.source("train")
        factors = self.balance.factors(source.annotations) if self.balance else None
        order = self.batch_size, self.seed, rank, world
        return EpochSampler(len(source), *order, self.multiscale, factors)

    def val_dataloader(self) -> DataLoader:
        return self.plain_loader(self.source("val"), self._cache("val"), self.proposals_of("val"))

    def test_dataloader(self) -> DataLoader:
        return self.plain_loader(self.source("test"), None, self.proposals_of("test"))

    def predict_dataloader(self) -> DataLoader:
        return self.val_dataloader()

    def plain_loader(
        self,
        source: Source,
        cache: Cache | None = None,
        proposals: PictureProposals | None = None,
        tally: Tally | None = None,
    ) -> DataLoader:
        """Every picture of a source once, in order, without augmentation.

        With a tally the next takes the place of one that cannot be read, else none does.
        """
        sampler = ShareSampler(len(source), *self.place)
        data = DetectionDataset(
            source, {}, self.resize, self.seed, cache=cache, tally=tally, proposals=proposals
        )
        return Loader(data, sampler=sampler, **self._arguments(proposals))

    def tally(self, split: str) -> Tally | None:
        """How many pictures of a split may be unreadable; None: an evaluation stops at any."""
        return Tally(self.source(split), self.max_unreadable) if split == "train" else None

    def plain_pictures(self, split: str) -> DetectionDataset:
        """The pictures of a split on the canvas, without augmentation, each when it is asked for.

        Of the training split the next takes the place of one that cannot be read.
        """
        source = self.source(split)
        return DetectionDataset(
            source,
            {},
            self.resize,
            self.seed,
            cache=self._cache(split) if split in CACHED else None,
            tally=self.tally(split),
            proposals=self.proposals_of(split),
        )

    def _cache(self, split: str) -> Cache | None:
        """The cache of a split, which all its loaders share; None where nothing is cached."""
        if self.cache is None:
            return None
        if split not in self._caches:
            self._caches[split] = Cache(self._cached_sizes(split), f"{split} pictures")
        return self._caches[split]

    def _cached_sizes(self, split: str) -> np.ndarray:
        train = split == "train"
        transforms, sides_change = (
            (self.augment, self.multiscale is not None) if train else ({}, False)
        )
        return cached_sizes(self.source(split), transforms, self.resize, sides_change)

    def _arguments(self, proposals: PictureProposals | None) -> dict[str, Any]:
        collate = partial(
            collated,
            smallest=self.min_objects,
            proposals=0 if proposals is None else proposals.most,
        )
        return loader_arguments(self.batch_size, self.num_workers, collate)


def _check_objects(split: str, truth: Annotations) -> None:
    if (truth.crowd | truth.difficult).all():
        raise ValueError(
            f"{split} has no object to learn or to measure: of {len(truth.labels)} all are crowds "
            "or difficult; correct these flags, or use_difficult=true for data in VOC's format"
        )
