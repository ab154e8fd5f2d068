import math

import pytest
import torch
from torch import Tensor
from torchvision.ops import roi_align

from detectors.heads.poolers import RoIAlign, RoIPool
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(3, 8), FeatureSpec(3, 16)]
BOXES = torch.tensor(
    [
        [[0.0, 0.0, 95.0, 63.0], [20.0, 10.0, 60.0, 50.0], [90.0, 60.0, 140.0, 90.0]],
        [[33.0, 7.0, 34.0, 9.0], [-20.0, -9.0, 50.0, 40.0], [8.0, 8.0, 8.0, 8.0]],
    ]
)


def _rounded(value: float) -> int:
    return math.floor(value + 0.5) if value >= 0 else math.ceil(value - 0.5)


def _max_pooled(feature: Tensor, box: list[float], size: int, stride: int) -> Tensor:
    """Fast R-CNN's roi_pooling_layer as loops; `feature` is [C, H, W]."""
    x1, y1, x2, y2 = (_rounded(corner / stride) for corner in box)
    width, height = max(x2 - x1 + 1, 1), max(y2 - y1 + 1, 1)
    result = torch.zeros(len(feature), size, size)
    for i in range(size):
        for j in range(size):
            rows = range(
                min(max(y1 + math.floor(i * height / size), 0), feature.shape[1]),
                min(max(y1 + math.ceil((i + 1) * height / size), 0), feature.shape[1]),
            )
            columns = range(
                min(max(x1 + math.floor(j * width / size), 0), feature.shape[2]),
                min(max(x1 + math.ceil((j + 1) * width / size), 0), feature.shape[2]),
            )
            if rows and columns:
                window = feature[:, rows.start : rows.stop, columns.start : columns.stop]
                result[:, i, j] = window.amax((1, 2))
    return result


def test_max_pooling_is_the_released_layer() -> None:
    features = [torch.randn(2, 3, 8, 12), torch.randn(2, 3, 4, 6)]
    pooler = RoIPool(SPECS, stride=8, size=4)
    found = pooler(features, BOXES)
    assert pooler.shape == (3, 4, 4)
    for image in range(2):
        for region in range(3):
            expected = _max_pooled(features[0][image], BOXES[image, region].tolist(), 4, 8)
            torch.testing.assert_close(found[image, region], expected)


def test_align_from_one_level_takes_regions_of_all_sizes() -> None:
    features = [torch.randn(2, 3, 8, 12), torch.randn(2, 3, 4, 6)]
    found = RoIAlign(SPECS, strides=[16], size=14)(features, BOXES)
    expected = roi_align(features[1], list(BOXES), 14, 1 / 16, sampling_ratio=2)
    torch.testing.assert_close(found.flatten(0, 1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooler", [lambda: RoIAlign(SPECS, [8, 32]), lambda: RoIPool(SPECS, 32)])
def test_an_absent_level_is_refused(pooler) -> None:
    with pytest.raises(ValueError, match=r"stride 32, but the neck offers \[8, 16\]"):
        pooler()
