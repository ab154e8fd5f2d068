"""A source and its transforms as a PyTorch data set."""

import zlib
from collections.abc import Mapping

import numpy as np
from torch.utils.data import Dataset

from detectors.data.source import Source
from detectors.data.transforms import Resize, Transform
from detectors.structures import Sample


class DetectionDataset(Dataset[Sample]):
    """Samples of a source: augmented by the named transforms in their order, then resized.

    A key is (epoch, index), or an index alone, meaning epoch 0. The sample is a pure function of
    the seed and the key. Each transform draws from a generator of its own name, so that adding or
    removing one leaves the draws of the others unchanged.
    """

    def __init__(
        self, source: Source, transforms: Mapping[str, Transform], resize: Resize, seed: int
    ) -> None:
        self.source = source
        self.transforms = dict(transforms)
        self.resize = resize
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: tuple[int, int] | int) -> Sample:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        sample = raw_sample(self.source, index)
        for name, transform in self.transforms.items():
            sample = transform(sample, generator(self.seed, epoch, index, name))
        return self.resize(sample)


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
