"""Published parameter counts of SSD, to the unit."""

import pytest
import torch

import detectors

TORCHVISION = "num_params of torchvision's SSD300_VGG16 COCO_V1; class 0 is the background"
LAYERS = "layers of the released model definitions, VGG-16 with fc6 and fc7 reduced"


@pytest.mark.parametrize(
    ("family", "classes", "count", "source"),
    [
        ("ssd300", 90, 35_641_826, TORCHVISION),
        ("ssd300", 80, 34_305_206, LAYERS),
        ("ssd300", 20, 26_285_486, LAYERS),
        ("ssd512", 80, 36_038_196, LAYERS),
        ("ssd512", 20, 27_188_676, LAYERS),
    ],
)
def test_as_published(family: str, classes: int, count: int, source: str) -> None:
    with torch.device("meta"):
        detector = detectors.build(family, num_classes=classes)
    assert sum(parameter.numel() for parameter in detector.parameters()) == count, source
