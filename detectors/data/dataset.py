"""Makes a PyTorch data set of a source and its transforms."""

from collections.abc import Mapping

import numpy as np
from torch.utils.data import Dataset

from detectors.contracts import check_contract
from detectors.data.augment import Mix, Transform
from detectors.data.augment.transforms import (
    Resize,
    canvas_of,
    framed,
    placed,
    scale_free,
    unframed,
)
from detectors.data.cache import Cache
from detectors.data.closing import Closing
from detectors.data.epoch_order import Neighbours
from detectors.data.proposals.feeding import PictureProposals, with_proposals
from detectors.data.recent import Recent
from detectors.data.shared_recent import SharedRecent
from detectors.data.sources.base import Source, reduced_image
from detectors.data.unreadable import Tally, first_readable
from detectors.random_streams import stream
from detectors.structures import Sample


class DetectionDataset(Dataset[Sample]):
    """Samples of a source: augmented by the named transforms in their order, resized, then mixed.

    Where every transform means the same at any resolution (flips, colours, erasing; see
    `scale_free`), the picture is resized first, which is faster; else they see the picture in its
    own resolution. The cache holds what comes before the first random draw: in the one case the
    pictures on the canvas, in the other those decoded. So it never changes a sample.

    A key is (epoch, index) or (epoch, index, side), the side being that of the canvas where it is
    not the one that `resize` has; or an index alone, meaning epoch 0. The sample is a pure function
    of the seed and the key. Each transform and mix draws from a generator of its own name, so that
    adding or removing one leaves the draws of the others unchanged. The partners of a mix are drawn
    from all images, or from `neighbours`, and augmented by draws of their own. An index of
    `len(self)` or more is a picture once more, its number the remainder, with other draws.

    Where pictures are resized first, they may be decoded `reduced`, at a half, a quarter or an
    eighth of their size, if that is not less than they have on the canvas. This changes samples.

    Where there is a `tally`, the next picture takes the place of one that cannot be read, with the
    same draws, and the sample tells so; else that is an error.

    Where there are `proposals`, a sample has those of its picture, moved as the picture was.
    """

    def __init__(
        self,
        source: Source,
        transforms: Mapping[str, Transform],
        resize: Resize,
        seed: int,
        mixes: Mapping[str, Mix] | None = None,
        closing: Closing | None = None,
        cache: Cache | Recent | SharedRecent | None = None,
        tally: Tally | None = None,
        neighbours: Neighbours | None = None,
        reduced: bool = False,
        proposals: PictureProposals | None = None,
    ) -> None:
        self.source = source
        self.transforms = dict(transforms)
        self.resize = resize
        self.seed = seed
        self.mixes = dict(mixes or {})
        for mix in self.mixes.values():
            check_contract(mix, Mix)
        self.closing = closing
        self.cache = cache
        self.tally = tally
        self.neighbours = neighbours
        self.reduced = reduced
        self.proposals = proposals
        self.resize_first = scale_free(self.transforms)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, ...] | int) -> Sample:
        epoch, index, *side = key if isinstance(key, tuple) else (0, key)
        resize = self.resize.sized(*side) if side else self.resize
        if self.neighbours is not None and isinstance(self.cache, Recent):
            self.cache.begin((epoch, self.neighbours.bounds(epoch, index)))
        sample = self._prepared(index % len(self), resize, epoch, index, "")
        if self.closing is None or self.closing.mixes(epoch):
            sample = self._mixed(sample, resize, epoch, index)
        if self.proposals is not None:
            sample = with_proposals(sample, self.proposals.boxes(sample.id))
        return _own(sample)

    def _mixed(self, sample: Sample, resize: Resize, epoch: int, index: int) -> Sample:
        for name, mix in self.mixes.items():
            rng = stream(self.seed, epoch, index, name=name)
            if rng.random() < mix.probability:
                others = [
                    self._prepared(partner, resize, epoch, index, f"{name}/{k}/")
                    for k, partner in enumerate(self._partners(rng, epoch, index, mix.partners))
                ]
                lost = [row for part in (sample, *others) for row in part.unreadable]
                sample = mix([sample, *others], rng)._replace(unreadable=tuple(lost))
        return sample

    def _partners(self, rng: np.random.Generator, epoch: int, index: int, count: int) -> list[int]:
        if self.neighbours is None:
            return rng.integers(len(self), size=count).tolist()
        return self.neighbours.drawn(rng, epoch, index, count)

    def _prepared(self, picture: int, resize: Resize, epoch: int, index: int, place: str) -> Sample:
        """A picture augmented for its place in the sample `index`, then resized."""

        def prepared(row: int) -> Sample:
            return self._augmented(row, resize, epoch, index, place)

        sample, lost = first_readable(picture, len(self), self.tally, prepared)
        return sample._replace(unreadable=lost)

    def _augmented(
        self, picture: int, resize: Resize, epoch: int, index: int, place: str
    ) -> Sample:
        def augmented(sample: Sample) -> Sample:
            for name, transform in self.transforms.items():
                sample = transform(sample, stream(self.seed, epoch, index, name=place + name))
            return sample

        if not self.resize_first:
            return resize(augmented(_own(self._decoded(picture))))
        sample = self._resized(picture, resize)
        return unframed(augmented(framed(sample)), sample) if self.transforms else sample

    def _decoded(self, picture: int) -> Sample:
        if self.cache is None:
            return raw_sample(self.source, picture)
        image = self.cache.image(picture, lambda: self.source.image(picture))
        return labelled(self.source, picture, image)

    def _resized(self, picture: int, resize: Resize) -> Sample:
        if self.cache is None:
            image = self._canvas(picture, resize)
        elif resize is not self.resize or tuple(self.cache.sizes[picture]) != resize.canvas:
            return resize(self._decoded(picture))
        else:
            image = self.cache.image(picture, lambda: self._canvas(picture, resize))
        height, width = self.source.annotations.sizes[picture].tolist()
        return placed(labelled(self.source, picture, image), image, (height, width), resize)

    def _canvas(self, picture: int, resize: Resize) -> np.ndarray:
        height, width = self.source.annotations.sizes[picture].tolist()
        if self.reduced:
            image = reduced_image(self.source, picture, resize.picture_size(height, width))
        else:
            image = self.source.image(picture)
        return canvas_of(image, (height, width), resize)


def cached_sizes(
    source: Source, transforms: Mapping[str, Transform], resize: Resize, sides_change: bool
) -> np.ndarray:
    """[I, 2] height and width of what a cache holds: canvases if possible, else full pictures."""
    sizes = source.annotations.sizes
    if sides_change or not scale_free(transforms):
        return sizes
    return np.broadcast_to(np.array(resize.canvas, np.int64), sizes.shape)


def _own(sample: Sample) -> Sample:
    """The sample with an image of its own: a kept one is not to be written to, and may go."""
    writeable = sample.image.flags.writeable
    return sample if writeable else sample._replace(image=sample.image.copy())


def raw_sample(source: Source, index: int) -> Sample:
    """The picture as it is, with its objects; crowds and difficult ones are to be ignored."""
    return labelled(source, index, source.image(index))


def labelled(source: Source, index: int, image: np.ndarray) -> Sample:
    """An image of a picture with its objects as annotated, in pixels of the original picture."""
    truth = source.annotations
    height, width = truth.sizes[index]
    rows = slice(truth.offsets[index], truth.offsets[index + 1])
    return Sample(
        image=image,
        boxes=truth.boxes[rows].astype(np.float32),
        labels=truth.labels[rows],
        ignore=truth.crowd[rows] | truth.difficult[rows],
        id=int(truth.image_ids[index]),
        to_original=np.array([1, 1, 0, 0], np.float32),
        frame=np.array([0, 0, width, height], np.float32),
    )


def without_objects(image: np.ndarray, index: int) -> Sample:
    """A picture [H, W, 3] uint8 RGB that nobody has annotated, as transforms take it."""
    height, width = image.shape[:2]
    return Sample(
        image=image,
        boxes=np.zeros((0, 4), np.float32),
        labels=np.zeros(0, np.int64),
        ignore=np.zeros(0, bool),
        id=index,
        to_original=np.array([1, 1, 0, 0], np.float32),
        frame=np.array([0, 0, width, height], np.float32),
    )
