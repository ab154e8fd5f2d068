"""A source and its transforms as a PyTorch data set."""

import zlib
from collections.abc import Mapping

import numpy as np
from torch.utils.data import Dataset

from detectors.data.mix import Mix
from detectors.data.source import Source
from detectors.data.transforms import Resize, Transform
from detectors.structures import Sample


class DetectionDataset(Dataset[Sample]):
    """Samples of a source: augmented by the named transforms in their order, resized, then mixed.

    A key is (epoch, index) or (epoch, index, side), the side being that of the canvas where it is
    not the one that `resize` has; or an index alone, meaning epoch 0. The sample is a pure function
    of the seed and the key. Each transform and mix draws from a generator of its own name, so that
    adding or removing one leaves the draws of the others unchanged. The partners of a mix are drawn
    from all images, and augmented by draws of their own.
    """

    def __init__(
        self,
        source: Source,
        transforms: Mapping[str, Transform],
        resize: Resize,
        seed: int,
        mixes: Mapping[str, Mix] | None = None,
    ) -> None:
        self.source = source
        self.transforms = dict(transforms)
        self.resize = resize
        self.seed = seed
        self.mixes = dict(mixes or {})

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, ...] | int) -> Sample:
        epoch, index, *side = key if isinstance(key, tuple) else (0, key)
        resize = self.resize.sized(*side) if side else self.resize
        sample = self._prepared(index, resize, epoch, index, "")
        for name, mix in self.mixes.items():
            rng = generator(self.seed, epoch, index, name)
            if rng.random() < mix.probability:
                partners = rng.integers(len(self), size=mix.partners).tolist()
                others = [
                    self._prepared(partner, resize, epoch, index, f"{name}/{k}/")
                    for k, partner in enumerate(partners)
                ]
                sample = mix([sample, *others], rng)
        return sample

    def _prepared(self, picture: int, resize: Resize, epoch: int, index: int, place: str) -> Sample:
        """A picture augmented for its place in the sample `index`, and resized."""
        sample = raw_sample(self.source, picture)
        for name, transform in self.transforms.items():
            sample = transform(sample, generator(self.seed, epoch, index, place + name))
        return resize(sample)


def generator(seed: int, epoch: int, index: int, name: str) -> np.random.Generator:
    """The source of chance for one transform of one image in one epoch."""
    key = [seed, epoch, index, zlib.crc32(name.encode())]
    return np.random.default_rng(np.random.SeedSequence(key))


def raw_sample(source: Source, index: int) -> Sample:
    """The picture as it is, with its objects; crowds and difficult ones are to be ignored."""
    truth = source.annotations
    image = source.image(index)
    height, width = image.shape[:2]
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
