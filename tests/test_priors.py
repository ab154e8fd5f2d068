"""Prior grids against torchvision's and the published numbers."""

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

from detectors.ops.boxes import centers, sides
from detectors.priors import BoxGrid, Canvas, Points, anchors, octave_anchors
from tests.examples import feature_maps, points, shapes

RATIOS = [0.5, 1.0, 2.0]
RETINANET = [[32, 40, 50], [64, 80, 101], [128, 161, 203], [256, 322, 406], [512, 645, 812]]
RPN = [[32], [64], [128], [256], [512]]
FCOS = [[8], [16], [32], [64], [128]]
P3_TO_P7, P2_TO_P6 = [8, 16, 32, 64, 128], [4, 8, 16, 32, 64]
FAMILIES = {
    "retinanet": (anchors(RETINANET, RATIOS), P3_TO_P7, RETINANET, RATIOS),
    "rpn": (anchors(RPN, RATIOS), P2_TO_P6, RPN, RATIOS),
    "fcos": (Points(5, offset=0.0, fitted=True), P3_TO_P7, FCOS, [1.0]),
}


def torchvisions(sizes: list, ratios: list, features: list[Tensor], canvas: tuple) -> Tensor:
    generator = AnchorGenerator(tuple(map(tuple, sizes)), (tuple(ratios),) * len(sizes))
    images = SimpleNamespace(tensors=torch.empty(1, 0, *canvas), image_sizes=[canvas])
    return generator(images, features)[0]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("canvas", [(256, 384), (224, 352), (96, 32), (800, 1088)])
def test_grids_are_torchvisions(family: str, canvas: tuple[int, int]) -> None:
    """Also where P6 and P7 are no whole number of strides, and in the same order."""
    grid, strides, sizes, ratios = FAMILIES[family]
    features, specs = feature_maps(strides, *canvas)
    expected = torchvisions(sizes, ratios, features, canvas)
    assert torch.equal(grid(features, specs).boxes, expected[None])


@pytest.mark.parametrize(
    ("family", "canvas", "count"),
    [
        ("retinanet", (800, 800), 120_087),
        ("retinanet", (800, 1344), 201_600),
        ("rpn", (800, 800), 159_882),
        ("rpn", (800, 1344), 268_569),
        ("fcos", (800, 800), 13_343),
    ],
)
def test_published_counts(family: str, canvas: tuple[int, int], count: int) -> None:
    grid, strides, _, _ = FAMILIES[family]
    priors = grid(*feature_maps(strides, *canvas))
    assert priors.boxes.shape == (1, count, 4)
    assert priors.stride.shape == (count,)
    assert sum(priors.level_sizes) == count
    assert priors.canvas == canvas


def test_published_anchors_of_a_cell() -> None:
    """Half sides on P3 and P7 as torchvision rounds them, ratio by ratio."""
    grid, strides, _, _ = FAMILIES["retinanet"]
    priors = grid(*feature_maps(strides, 128, 128))
    lying = {8: [(23, 11), (28, 14), (35, 18)], 128: [(362, 181), (456, 228), (574, 287)]}
    square = {8: [(16, 16), (20, 20), (25, 25)], 128: [(256, 256), (322, 322), (406, 406)]}
    for start, stride in ((0, 8), (-9, 128)):
        upright = [(height, width) for width, height in lying[stride]]
        expected = torch.tensor(lying[stride] + square[stride] + upright).float()
        cell = priors.boxes[0, start : start + 9 or None]
        assert torch.equal(cell, torch.cat([-expected, expected], dim=-1))


EFFICIENTDET = [(1.0, 1.0), (1.4, 0.7), (0.7, 1.4)]


@pytest.mark.parametrize(
    ("side", "levels", "count"),
    [(512, 5, 49_104), (640, 5, 76_725), (768, 5, 110_484), (896, 5, 150_381),
     (1024, 5, 196_416), (1280, 5, 306_900), (1536, 5, 441_936), (1536, 6, 442_260)],
)  # fmt: skip
def test_efficientdet_has_the_published_anchors(side: int, levels: int, count: int) -> None:
    """D0 to D7x."""
    grid = octave_anchors(levels, 4.0, 3, EFFICIENTDET)
    priors = grid(*feature_maps([8 * 2**level for level in range(levels)], side, side))
    assert priors.boxes.shape == (1, count, 4)


def test_octaves_come_first_and_shapes_within_them() -> None:
    grid = octave_anchors(2, 4.0, 3, EFFICIENTDET)
    priors = grid(*feature_maps([8, 16], 32, 32))
    for start, stride in ((0, 8.0), (16 * 9, 16.0)):
        box = priors.boxes[0, start : start + 9]
        expected = [
            (4 * stride * 2 ** (k / 3) * width, 4 * stride * 2 ** (k / 3) * height)
            for k in range(3)
            for width, height in EFFICIENTDET
        ]
        torch.testing.assert_close(sides(box), torch.tensor(expected))
        torch.testing.assert_close(centers(box), torch.full((9, 2), stride / 2))


def test_cells_row_by_row_and_shape_by_shape() -> None:
    priors = shapes([16, 32], [[(10, 13), (16, 30)], [(116, 90)]], height=32, width=64)
    assert priors.level_sizes == (2 * 4 * 2, 2)
    assert priors.stride.tolist() == [16.0] * 16 + [32.0] * 2
    expected = [(x, y) for y in (8, 24) for x in (8, 24, 40, 56) for _ in range(2)]
    expected += [(16, 16), (48, 16)]
    assert centers(priors.boxes)[0].tolist() == [list(map(float, place)) for place in expected]
    assert sides(priors.boxes)[0, [0, 1, 2, -1]].tolist() == [
        [10, 13],
        [16, 30],
        [10, 13],
        [116, 90],
    ]


def test_a_point_is_a_square_one_stride_wide_in_the_middle_of_its_cell() -> None:
    priors = points([4], height=8, width=12)
    assert priors.boxes[0, :4].tolist() == [[0, 0, 4, 4], [4, 0, 8, 4], [8, 0, 12, 4], [0, 4, 4, 8]]


def test_cells_keep_their_stride_unless_fitted_to_the_canvas() -> None:
    """At 800 px P6 has 13 cells: 64 px apart by its stride, 61 in torchvision (sheets, sec. 3)."""
    features, specs = feature_maps([8, 16, 32, 64, 128], 800, 800)
    for fitted, step in ((False, 64.0), (True, 61.0)):
        priors = Points(5, offset=0.0, fitted=fitted)(features, specs)
        first = sum(priors.level_sizes[:3])
        apart = centers(priors.boxes)[0, first + 1] - centers(priors.boxes)[0, first]
        assert apart.tolist() == [step, 0.0]
        assert priors.stride[first] == 64.0


@pytest.mark.parametrize(
    "grid", [Points(3), BoxGrid([[(1.0, 1.0)]] * 3), anchors(RPN[:3], RATIOS)], ids=type
)
def test_wrong_number_of_levels_tells_both(grid: torch.nn.Module) -> None:
    features, specs = feature_maps([8, 16], 64, 64)
    with pytest.raises(ValueError, match=r"for 3 feature levels.*delivers 2 \(strides \[8, 16\]\)"):
        grid(features, specs)


def test_priors_per_cell_are_what_a_tower_must_predict() -> None:
    for grid, strides, _, _ in FAMILIES.values():
        features, specs = feature_maps(strides, 96, 96)
        cells = [level.shape[2] * level.shape[3] for level in features]
        counts = [a * b for a, b in zip(grid.per_cell, cells, strict=True)]
        assert grid(features, specs).level_sizes == tuple(counts)


def test_the_canvas_is_one_prior_whatever_the_cells() -> None:
    priors = Canvas()(*feature_maps([32], 64, 96))
    assert priors.boxes.tolist() == [[[0, 0, 96, 64]]]
    assert (priors.level_sizes, priors.canvas, priors.stride.tolist()) == ((1,), (64, 96), [32.0])
    with pytest.raises(ValueError, match="for 1 feature levels"):
        Canvas()(*feature_maps([16, 32], 64, 96))
