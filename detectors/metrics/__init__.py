"""Metrics of detection: COCO's and VOC's rules, and what feeds them or any others."""

from detectors.metrics.coco import coco_scores
from detectors.metrics.detection import COCO_AND_VOC, DetectionMetric, Scores, reported
from detectors.metrics.packed import PackedDetections, select_images
from detectors.metrics.report import (
    coco_results,
    score_table,
    write_coco_results,
    write_coco_truth,
)
from detectors.metrics.voc import voc_scores

__all__ = [
    "COCO_AND_VOC",
    "DetectionMetric",
    "PackedDetections",
    "Scores",
    "coco_results",
    "coco_scores",
    "reported",
    "score_table",
    "select_images",
    "voc_scores",
    "write_coco_results",
    "write_coco_truth",
]
