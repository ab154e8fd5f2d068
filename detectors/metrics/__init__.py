"""Evaluation by COCO and VOC rules."""

from detectors.metrics.coco import coco_scores
from detectors.metrics.detection import DetectionMetric
from detectors.metrics.packed import PackedDetections, select_images
from detectors.metrics.report import coco_results, score_table, write_coco_results
from detectors.metrics.voc import voc_scores

__all__ = [
    "DetectionMetric",
    "PackedDetections",
    "coco_results",
    "coco_scores",
    "score_table",
    "select_images",
    "voc_scores",
    "write_coco_results",
]
