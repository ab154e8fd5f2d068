"""Runs an exported file beside its detector on pictures, one by one and three at a time."""

from collections.abc import Sequence
from contextlib import closing
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor

from detectors.data.augment.transforms import Resize
from detectors.data.collate import collated
from detectors.data.dataset import DetectionDataset
from detectors.data.reading import Unread, read_ahead
from detectors.data.sources.base import Source
from detectors.data.sources.footage import Span
from detectors.data.sources.scenes import Layout, Look, Scenes
from detectors.data.sources.unlabelled import found
from detectors.detector import Detector
from detectors.export.agreement import (
    NOTHING,
    Agreement,
    Rounding,
    candidates_agree,
    detections_agree,
    rounded,
)
from detectors.export.network import ExportedNetwork
from detectors.heads.region_stage import as_priors
from detectors.structures import Batch, Candidates, Detections, Sample

PICTURES = 6  # at most; batches of one each, and of three
TOGETHER = 3


class Exported(Protocol):
    """A file that can be run."""

    def outputs(self, images: Tensor, frames: Tensor) -> tuple[Tensor, ...]: ...


def generated() -> Source:
    """Generated scenes of many shapes and sizes, for those who name no pictures."""
    layout = Layout(side=320, num_classes=8, objects=(2, 8), sizes=(0.08, 0.4))
    return Scenes(layout, Look(), PICTURES, split="val")


def samples(source: Any, resize: Resize) -> list[Sample]:
    """The first pictures that can be read at the places of `source`, or generated ones without it.

    Args:
        source: as `detectors predict` takes it.

    Raises:
        ValueError: there is none.
    """
    if source == []:
        data = DetectionDataset(generated(), {}, resize, seed=0)
        return [data[row] for row in range(PICTURES)]
    unread, reading = Unread(), read_ahead(found(source), Span(), resize, ahead=PICTURES)
    with closing(reading):
        some = [item.sample for item in islice(unread.readable(reading), PICTURES)]
    unread.check()
    return some


def batches(given: Sequence[Sample]) -> list[Batch]:
    """The pictures one by one, then three at a time; fewer than three are repeated."""
    count = max(TOGETHER, len(given))
    every = [given[row % len(given)]._replace(id=row) for row in range(count)]
    starts = sorted({0, count - TOGETHER})
    together = [every[start : start + TOGETHER] for start in starts]
    return [collated(group) for group in [*([sample] for sample in every), *together]]


@torch.no_grad()
def agreement(network: ExportedNetwork, file: Exported, given: Sequence[Batch]) -> Agreement:
    """How far the file's outputs are from the network's.

    Raises:
        ValueError: they disagree, or nothing was found that could be compared.
    """
    total = NOTHING
    for batch in given:
        expected = network(batch.images, batch.frames)
        given_back = file.outputs(batch.images, batch.frames)
        total = total.with_other(_compared(network, expected, given_back, batch))
    if not total.rows:
        raise ValueError(
            "the detector finds nothing in the pictures, so nothing could be compared: name "
            "pictures of what it knows by source=, or compare all candidates by suppression=false"
        )
    if total.absent > total.rows:
        raise ValueError(
            f"{total.absent} rows are absent by ties and {total.rows} agree, which shows nothing: "
            "the scores hardly differ, as of a detector that was not trained"
        )
    return total


def _compared(
    network: ExportedNetwork, expected: Sequence[Tensor], found: Sequence[Tensor], batch: Batch
) -> Agreement:
    threshold = float(getattr(network.detector.postprocess, "score_threshold", 0.0))
    if network.suppression:
        return detections_agree(Detections(*expected), Detections(*found), threshold)
    if not network.detector.head.ranks_candidates:
        return candidates_agree(expected, found)
    here, there = (_suppressed(network, each, batch) for each in (expected, found))
    return detections_agree(here, there, threshold)


def _suppressed(network: ExportedNetwork, outputs: Sequence[Tensor], batch: Batch) -> Detections:
    """What the detector makes of candidates whose order ties may change."""
    told = dict(zip(network.outputs, outputs, strict=True))
    boxes = told["boxes"]
    height, width = batch.images.shape[-2:]
    priors = as_priors(boxes[:, :, 0] if boxes.dim() == 4 else boxes, (height, width))
    return network.detector.postprocess(Candidates(priors=priors, **told), batch.frames)


@torch.no_grad()
def rounding(detector: Detector, half: Detector, given: Sequence[Batch]) -> Rounding:
    """What float16 weights do to the detections, in PyTorch.

    Raises:
        ValueError: too much.
    """
    return rounded(*([each(b.images, b.frames) for b in given] for each in (detector, half)))
