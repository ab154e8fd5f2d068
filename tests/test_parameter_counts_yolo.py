"""Learnable parameters and operations of YOLOv3-SPP, YOLOv4 and the tiny ones, as in the cfg files.

Batch norm's affine terms count, its running statistics do not. Operations are two per
multiply-add of a convolution.
"""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import detectors

PUBLISHED = {  # with COCO's 80 classes: side, parameters, 1e9 operations
    "yolov3_spp": (608, 62_998_749, 141.449),
    "yolov3_tiny": (416, 8_852_366, 5.565),
    "yolov4": (608, 64_363_101, 128.389),
    "yolov4_tiny": (416, 6_056_606, 6.908),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_counts_are_the_published_ones(name: str) -> None:
    side, parameters, operations = PUBLISHED[name]
    with torch.device("meta"):
        detector = detectors.build(name, num_classes=80)
        images = torch.zeros(1, 3, side, side)
    assert sum(p.numel() for p in detector.parameters()) == parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        detector.head.tower(detector.neck(detector.backbone(images)))
    assert counter.get_total_flops() / 1e9 == pytest.approx(operations, abs=0.0005)
