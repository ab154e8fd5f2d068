"""Measures how long a trained detector takes for one picture."""

import itertools
import statistics
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch.utils._pytree import tree_map

from detectors.data.collate import collated
from detectors.measuring import seconds_of
from detectors.module import LitDetector
from detectors.structures import Batch

WARM_UP = 2  # calls; on a GPU more, whose libraries choose their kernels then
WARM_UP_GPU = 10
LEAST, MOST = 5, 200  # calls that are timed
SHARE, LONGEST = 0.01, 10.0  # of the seconds of training, and seconds, after which they end
PICTURES = 20


class Latency(NamedTuple):
    """Milliseconds of a picture, from uint8 on the canvas to detections."""

    median_ms: float
    iqr_ms: float  # between the quartiles
    batch: int
    repeats: int


@torch.inference_mode()
def latency(
    module: LitDetector, data: Any, trainer: Trainer, split: str, training: float
) -> Latency:
    """The latency on the device and in the number format of the trainer.

    The first pictures of the split are asked one by one, as in an evaluation, after a few untimed
    ones. Reading, resizing and the way to the device are not counted.

    Args:
        training: seconds that it took; the measuring takes no more than a hundredth of them, if
            five calls do not.
    """
    device = trainer.strategy.root_device
    detector = module.detector.to(device).eval()
    asked = (detector if module.tta is None else module.tta(detector)).eval()
    pictures = itertools.cycle(_pictures(data, split))
    calls = (partial(asked, *_on(device, picture, module)) for picture in pictures)
    limit = min(SHARE * training, LONGEST)
    seconds: list[float] = []
    with trainer.precision_plugin.val_step_context():
        for _ in range(WARM_UP_GPU if device.type == "cuda" else WARM_UP):
            next(calls)()
        while len(seconds) < LEAST or (sum(seconds) < limit and len(seconds) < MOST):
            seconds.append(seconds_of(next(calls), device))
    low, median, high = (1000 * second for second in statistics.quantiles(seconds, n=4))
    return Latency(median, high - low, 1, len(seconds))


def _pictures(data: Any, split: str) -> Iterator[Batch]:
    """Batches of one picture, each made when it is asked for."""
    loader = data.val_dataloader() if split == "val" else data.test_dataloader()
    count = min(PICTURES, len(loader.dataset))
    proposals = data.data.proposals_of(split)
    rows = 0 if proposals is None else proposals.most
    return (collated([loader.dataset[index]], proposals=rows) for index in range(count))


def _on(device: torch.device, batch: Batch, module: LitDetector) -> tuple[Any, ...]:
    images = batch.images.to(device).contiguous(memory_format=module.memory_format)
    return images, *tree_map(lambda tensor: tensor.to(device), batch.places)
