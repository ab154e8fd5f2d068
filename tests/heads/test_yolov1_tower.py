"""YOLOv1's tower orders its output as published, and refuses images of another size."""

from functools import partial

import pytest
import torch
from torch import nn

from detectors.heads.yolov1_tower import FullHidden, LocalHidden, YoloV1Tower
from detectors.structures import FeatureSpec

ACT = partial(nn.LeakyReLU, 0.1)
SPECS = [FeatureSpec(8, 64)]
C, A, H, W = 3, 2, 2, 4


def _tower(hidden: type[nn.Module] = FullHidden) -> YoloV1Tower:
    return YoloV1Tower(SPECS, C, [A], canvas=[128, 200], hidden=partial(hidden, act=ACT))


def test_vector_is_laid_out_as_in_darknet() -> None:
    tower = _tower()
    vector = torch.arange(H * W * (C + 5 * A)).float()[None]
    tower.hidden, tower.output = nn.Identity(), _Given(vector)
    ((logits, deltas, quality),) = tower([torch.empty(1, 8, H, W)])
    for row in range(H):
        for column in range(W):
            cell = row * W + column
            for box in range(A):
                scores = logits[0, box * C : (box + 1) * C, row, column]
                assert scores.tolist() == [cell * C + label for label in range(C)]
                assert quality[0, box, row, column] == H * W * C + cell * A + box
                start = H * W * (C + A) + (cell * A + box) * 4
                corners = deltas[0, box * 4 : (box + 1) * 4, row, column]
                assert corners.tolist() == [start, start + 1, start + 2, start + 3]


class _Given(nn.Module):
    def __init__(self, vector: torch.Tensor) -> None:
        super().__init__()
        self.vector = vector

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.vector


def test_hidden_layers_are_as_wide_as_published() -> None:
    with torch.device("meta"):
        full = FullHidden(1024, 7, 7, act=ACT)
        local = LocalHidden(1024, 7, 7, act=ACT)
    assert full.features == 4096
    assert local.features == 256 * 49


@pytest.mark.parametrize("hidden", [FullHidden, LocalHidden])
def test_images_of_another_size_are_refused(hidden: type[nn.Module]) -> None:
    tower = _tower(hidden)
    assert len(tower([torch.randn(1, 8, H, W)])) == 1
    with pytest.raises(ValueError, match=r"128 x 200 pixels, 2 x 4 .* given 4 x 2 .*image_size"):
        tower([torch.randn(1, 8, W, H)])


def test_several_levels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one level.*strides \[32, 64\].*part.levels"):
        YoloV1Tower([FeatureSpec(8, 32), *SPECS], C, [A, A], 128, partial(FullHidden, act=ACT))
