"""Training pictures and work for tests of fitted models, without an engine."""

from pathlib import Path

import numpy as np
import torch

from detectors.fitted import Work
from detectors.structures import Sample


def sample(image: np.ndarray, boxes: list[list[float]], labels: list[int], number: int) -> Sample:
    """A picture that fills its canvas."""
    height, width = image.shape[:2]
    return Sample(
        image=image,
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        labels=np.array(labels, np.int64),
        ignore=np.zeros(len(labels), bool),
        id=number,
        to_original=np.array([1, 1, 0, 0], np.float32),
        frame=np.array([0, 0, width, height], np.float32),
    )


def work(examples: list[Sample], classes: tuple[str, ...], folder: Path) -> Work:
    """What a stage gets in a run, without a bar."""
    device = torch.device("cpu")
    return Work(examples, classes, 0, device, folder, lambda items, name, total=None: iter(items))
