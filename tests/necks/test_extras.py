from functools import partial

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from detectors.config.compose import compose
from detectors.necks.extras import ExtraLevel, Extras
from detectors.structures import FeatureSpec


@pytest.mark.parametrize(
    ("model", "size", "cells", "priors"),
    [
        ("ssd300", 300, [38, 19, 10, 5, 3, 1], 8732),  # SSD, Fig. 2
        ("ssd512", 512, [64, 32, 16, 8, 4, 2, 1], 24564),  # SSD, table 5
    ],
)
def test_levels_and_default_boxes_are_the_published_ones(
    model: str, size: int, cells: list[int], priors: int
) -> None:
    part = compose([f"model={model}", "size=small"]).part
    backbone = instantiate(part.backbone, _convert_="all").eval()
    neck = instantiate(part.neck, _convert_="all")(backbone.specs)
    features = neck(backbone(torch.zeros(1, 3, size, size)))
    assert [tuple(feature.shape[2:]) for feature in features] == [(n, n) for n in cells]
    grid = instantiate(part.priors, _convert_="all")(features, neck.specs)
    assert grid.boxes.shape == (1, priors, 4)


def test_cells_of_unpadded_levels_are_spread_over_the_image() -> None:
    """The release's steps: 100 pixels between 3 cells, 300 for the one cell."""
    levels = {
        "conv10": partial(ExtraLevel, squeeze=2, channels=4, step=1, padding=0, stride=100),
        "conv11": partial(ExtraLevel, squeeze=2, channels=4, step=1, padding=0, stride=300),
    }
    neck = Extras([FeatureSpec(8, 64)], levels, norm=None, act=nn.ReLU)
    assert [spec.stride for spec in neck.specs] == [64, 100, 300]
    assert [f.shape[-1] for f in neck([torch.zeros(1, 8, 5, 5)])] == [5, 3, 1]


def test_a_level_that_is_null_is_left_out() -> None:
    level = partial(ExtraLevel, squeeze=2, channels=4)
    neck = Extras([FeatureSpec(8, 16)], {"a": level, "b": None, "c": level}, None, nn.ReLU)
    assert [spec.stride for spec in neck.specs] == [16, 32, 64]


def test_a_map_smaller_than_the_kernel_is_filled_up() -> None:
    level = ExtraLevel(FeatureSpec(8, 64), None, nn.ReLU, 2, 4, kernel=4, step=1, padding=1)
    assert level(torch.zeros(1, 8, 1, 3)).shape == (1, 4, 1, 2)
