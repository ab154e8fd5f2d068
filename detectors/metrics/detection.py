"""Gathers the detections of an evaluation over all devices, and has named metrics score them."""

import logging
from collections.abc import Mapping
from numbers import Number
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from detectors.metrics.coco import coco_scores
from detectors.metrics.packed import PackedDetections, select_images
from detectors.metrics.voc import voc_scores
from detectors.structures import Annotations, Batch, Detections

log = logging.getLogger(__name__)


class Scores(Protocol):
    """A metric: numbers about the detections of many images."""

    def __call__(self, truth: Annotations, found: PackedDetections) -> Mapping[str, float]:
        """Values by the names under which they are reported, "AP" for one; -1 if undefined.

        Args:
            truth: the evaluated images, ids rising.
            found: detections in these images, grouped by image in the same order.
        """
        ...


COCO_AND_VOC: Mapping[str, Scores] = MappingProxyType({"coco": coco_scores, "voc": voc_scores})


class DetectionMetric(Metric):
    """Scores of the images seen since the last reset.

    Detections are gathered over processes once and evaluated once, by the first process. An image
    that was seen twice (samplers pad the last batch of a process) counts once.

    `compute()` gives a flat dict of floats, of all metrics in their order. COCO's and VOC's are AP,
    AP50, AP75, APs, APm, APl, AR1, AR10, AR100, ARs, ARm, ARl, `AP/<class>`, VOC_AP50_11point and
    VOC_AP50_area; -1 where there is no object to find, which is everywhere if no image was seen.

    Raises:
        ValueError: when computed, a metric gives anything but numbers by name, or two give one of
            the same name.
    """

    full_state_update = False
    higher_is_better = True
    is_differentiable = False

    images: list[Tensor]  # [B, 2] int64: image id, its number of detections
    boxes: list[Tensor]  # [n, 4] float64, pixels of the original image, not yet clipped
    scores: list[Tensor]  # [n] float32
    labels: list[Tensor]  # [n] int64

    def __init__(
        self, annotations: Annotations, metrics: Mapping[str, Scores] = COCO_AND_VOC
    ) -> None:
        """
        Args:
            annotations: ground truth of the split; images that are never seen are not evaluated.
            metrics: named metrics, `conf/metric` for those of ours.
        """
        super().__init__()
        self.annotations = annotations
        self.rules = dict(metrics)
        for name in ("images", "boxes", "scores", "labels"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, detections: Detections, batch: Batch) -> None:
        """Remember the valid detections of a batch, in pixels of the original images."""
        boxes = _original_boxes(detections.boxes, batch.to_original)
        self.images.append(torch.stack([batch.ids, detections.valid.sum(dim=1)], dim=1))
        self.boxes.append(boxes[detections.valid])
        self.scores.append(detections.scores[detections.valid].float())
        self.labels.append(detections.labels[detections.valid])

    def compute(self) -> dict[str, float]:
        if not self._is_synced:
            return self._evaluated()
        scores = [self._evaluated() if dist.get_rank() == 0 else {}]
        dist.broadcast_object_list(scores, src=0, device=self.device)
        return scores[0]

    def found(self) -> PackedDetections:
        """All detections, of all processes: every process has to call this."""
        return self.evaluated()[1]

    def evaluated(self) -> tuple[Annotations, PackedDetections]:
        """The images seen, ids rising, and all detections: every process has to call this."""
        with self.sync_context():
            seen, found = self._packed()
        return select_images(self.annotations, seen), found

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As torchmetrics', but a process that saw no image takes part with empty states."""
        if isinstance(self.images, list) and not self.images:
            self._append_nothing()
        super().sync(*args, **kwargs)

    def _append_nothing(self) -> None:
        integers = torch.zeros(0, 2, dtype=torch.int64, device=self.device)
        self.images.append(integers)
        self.boxes.append(integers.new_zeros(0, 4, dtype=torch.float64))
        self.scores.append(integers.new_zeros(0, dtype=torch.float32))
        self.labels.append(integers[:, 0])

    def _evaluated(self) -> dict[str, float]:
        seen, found = self._packed()
        truth = select_images(self.annotations, seen)
        return all_scores(self.rules, truth, found)

    def _packed(self) -> tuple[np.ndarray, PackedDetections]:
        """Ids of the images seen, rising, and their detections in the same order."""
        images, boxes, scores, labels = (
            dim_zero_cat(state).cpu().numpy()
            for state in (self.images, self.boxes, self.scores, self.labels)
        )
        seen, first = np.unique(images[:, 0], return_index=True)
        sizes = select_images(self.annotations, seen).sizes
        rows = _rows_of_visits(images[:, 1], first)
        height, width = np.repeat(sizes, images[first, 1], axis=0).T
        limits = np.stack([width, height, width, height], axis=1)
        found = PackedDetections(
            image_ids=np.repeat(seen, images[first, 1]),
            labels=labels[rows],
            scores=scores[rows].astype(np.float64),
            boxes=boxes[rows].clip(0, limits),
        )
        return seen, _finite(found)


def all_scores(
    rules: Mapping[str, Scores], truth: Annotations, found: PackedDetections
) -> dict[str, float]:
    """The numbers of all metrics, in their order.

    Raises:
        ValueError: a metric gives anything but numbers by name, or two give one of the same name.
    """
    scores: dict[str, float] = {}
    for name, rule in rules.items():
        new = rule(truth, found)
        if not isinstance(new, Mapping) or not all(map(_is_number, new.values())):
            raise ValueError(
                f"metrics.{name} gave {new!r}, expected a dict of numbers by name, such as "
                "{'AP': 0.5}; see Scores in detectors/metrics/detection.py"
            )
        if again := scores.keys() & new.keys():
            raise ValueError(
                f"metrics.{name} reports {', '.join(sorted(again))}, as a metric before it "
                "does: name its numbers otherwise, or leave one of them out"
            )
        scores |= new
    return scores


def reported(rules: Mapping[str, Scores], annotations: Annotations) -> list[str]:
    """Names of the numbers that metrics give about these images, found without a detection."""
    nothing = np.zeros(0, dtype=np.int64)
    found = PackedDetections(nothing, nothing, np.zeros(0), np.zeros((0, 4)))
    return list(all_scores(rules, select_images(annotations, annotations.image_ids[:1]), found))


def _is_number(value: object) -> bool:
    return isinstance(value, Number) or (isinstance(value, Tensor) and value.ndim == 0)


def _original_boxes(boxes: Tensor, to_original: Tensor) -> Tensor:
    """[B, K, 4] float64, from pixels of the network input to pixels of the original image."""
    scale, shift = to_original.double()[:, None].split(2, dim=-1)
    return boxes.double() * scale.repeat(1, 1, 2) + shift.repeat(1, 1, 2)


def _rows_of_visits(counts: np.ndarray, visits: np.ndarray) -> np.ndarray:
    """Rows that belong to `visits`, one visit after the other; visit v left `counts[v]` rows."""
    starts = np.cumsum(counts) - counts
    kept = counts[visits]
    shift = np.repeat(starts[visits] - (np.cumsum(kept) - kept), kept)
    return np.arange(kept.sum()) + shift


def _finite(found: PackedDetections) -> PackedDetections:
    """Without detections that are not numbers, as a diverged network gives them."""
    finite = np.isfinite(found.scores) & np.isfinite(found.boxes).all(axis=1)
    if finite.all():
        return found
    log.warning("dropped %d of %d detections: not finite", (~finite).sum(), len(finite))
    return PackedDetections(*(column[finite] for column in found))
