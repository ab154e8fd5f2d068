"""Published parameter counts of CenterNet's other networks, to the unit."""

import pytest
import torch

import detectors

RESNET = "layers of CenterNet's released networks/resnet_dcn.py"
# The release also makes two 1x1 projections with batch norm, of 64 to 128 and 128 to 256 channels,
# in the outer trees of levels 3 and 4 whose result nothing reads; timm's DLA leaves them out.
DLA = "layers of networks/pose_dla_dcn.py"
UNREAD = 64 * 128 + 2 * 128 + 128 * 256 + 2 * 256
HOURGLASS = "layers of networks/large_hourglass.py, two stacks"

PUBLISHED = [
    ("centernet_dcn", ["backbone=resnet18"], 80, 14_437_349, RESNET),
    ("centernet_dcn", ["backbone=resnet18"], 20, 14_433_449, RESNET),
    ("centernet_dcn", ["backbone=resnet50"], 80, 30_681_061, RESNET),
    ("centernet_dcn", ["backbone=resnet101"], 80, 49_673_189, RESNET),
    ("centernet_dla", [], 80, 19_675_892 - UNREAD, DLA),
    ("centernet_dla", [], 20, 19_660_472 - UNREAD, DLA),
    ("centernet_hourglass", [], 80, 191_284_008, HOURGLASS),
]


@pytest.mark.parametrize(("family", "overrides", "classes", "count", "source"), PUBLISHED)
def test_as_published(
    family: str, overrides: list[str], classes: int, count: int, source: str
) -> None:
    with torch.device("meta"):
        detector = detectors.build(family, overrides, num_classes=classes)
    assert sum(parameter.numel() for parameter in detector.parameters()) == count, source
