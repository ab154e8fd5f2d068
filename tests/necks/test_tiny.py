import pytest
import torch
from torch import nn

from detectors.necks.tiny import TinyTopDown
from detectors.structures import FeatureSpec


@pytest.mark.parametrize(
    ("coarsest", "published"),  # less the backbone and the heads with 80 classes
    [
        (1024, 8_852_366 - 6_294_416 - 257 * 255 - 513 * 255),  # cfg/yolov3-tiny.cfg
        (512, 6_056_606 - 3_629_728 - 257 * 255 - 513 * 255),  # cfg/yolov4-tiny.cfg
    ],
)
def test_has_the_published_parameters(coarsest: int, published: int) -> None:
    with torch.device("meta"):
        neck = TinyTopDown([FeatureSpec(256, 16), FeatureSpec(coarsest, 32)], nn.BatchNorm2d, None)
    assert neck.specs == [FeatureSpec(256, 16), FeatureSpec(512, 32)]
    assert sum(p.numel() for p in neck.parameters()) == published


def test_one_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"part.levels=\[16,32\]"):
        TinyTopDown([FeatureSpec(8, 32)], None, None)
