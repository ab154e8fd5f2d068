"""Published sizes of YOLOv1 and v2, to the unit.

Counted is every number that may learn: weights and biases, scales and shifts of batch norms.
Running statistics are not counted.
"""

from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import detectors
from detectors.backbones.darknet19 import Darknet19
from detectors.backbones.extraction import Extraction
from detectors.detector import Detector

ACT = partial(nn.LeakyReLU, 0.1)
CLASSIFIER = 1024 * 1000 + 1000  # the 1 x 1 convolution of ImageNet's 1000 classes

# family, classes, parameters, convolutions, GFLOPs of all convolutions at the native size, source
PUBLISHED = [
    ("yolov1", 20, 271_703_550, 24, 40.147, "YOLOv1, Fig. 3: 60,155,968 and 211,547,582 connected"),
    ("yolov1_local", 20, 197_301_875, 24, 40.147, "cfg/yolov1/yolo.cfg"),
    ("yolov2_voc", 20, 50_655_389, 23, 29.360, "cfg/yolov2-voc.cfg"),
    ("yolov2", 80, 50_962_889, 23, 29.464, "cfg/yolov2.cfg"),
]


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(params=PUBLISHED, ids=lambda row: row[0])
def published(request: pytest.FixtureRequest) -> tuple[Detector, tuple]:
    family, classes, *expected = request.param
    with torch.device("meta"):
        return detectors.build(family, num_classes=classes), expected


def test_as_published(published: tuple[Detector, tuple]) -> None:
    detector, (parameters, convolutions, _, source) = published
    assert _count(detector) == parameters, source
    assert sum(isinstance(part, nn.Conv2d) for part in detector.modules()) == convolutions


def test_operations_as_published(published: tuple[Detector, tuple]) -> None:
    detector, (*_, gflops, _) = published
    size = detector.head.tower.canvas[0] if hasattr(detector.head.tower, "canvas") else 416
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        detector.eval().head(
            detector.neck(detector.backbone(torch.empty(1, 3, size, size))), frames=None
        )
    found = counter.get_flop_counts()["Global"][torch.ops.aten.convolution]
    assert found / 1e9 == pytest.approx(gflops, rel=1e-4)


def test_yolov1_with_batch_norm() -> None:
    with torch.device("meta"):
        detector = detectors.build("yolov1", ["norm=batch_darknet"], num_classes=20)
    assert _count(detector) == 271_716_734  # two numbers for each of 13,184 filters, but no bias


def test_darknet19() -> None:
    with torch.device("meta"):
        network = Darknet19(nn.BatchNorm2d, ACT)
    assert _count(network) == 19_817_376  # cfg/yolov2.cfg, layers 0 to 22
    assert _count(network) + CLASSIFIER == 20_842_376  # cfg/darknet19.cfg


def test_extraction() -> None:
    with torch.device("meta"):
        network = Extraction(nn.BatchNorm2d, ACT)
    assert _count(network.stages[:-1]) == 22_412_224
    assert _count(network.stages[:-1]) + CLASSIFIER == 23_437_224  # cfg/extraction.cfg
    assert _count(network.stages[-1]) == 37_756_928
