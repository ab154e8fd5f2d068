"""A trick of one's own: what happens to one picture."""

import numpy as np

from detectors.structures import Sample


class Grey:
    """Takes the colours away, with a probability."""

    scale_free = True

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        if rng.random() >= self.probability:
            return sample
        grey = sample.image.mean(axis=2, keepdims=True).astype(np.uint8)
        return sample._replace(image=grey.repeat(3, axis=2))
