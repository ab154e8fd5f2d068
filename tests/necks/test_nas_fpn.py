"""NAS-FPN's seven cells against the list of the paper, written out cell by cell."""

import pytest
import torch
from torch import Tensor, nn

from detectors.necks.nas_fpn import NASFPN, attended, resized
from detectors.structures import FeatureSpec

SPECS = [FeatureSpec(4, 8), FeatureSpec(6, 16), FeatureSpec(8, 32)]
# Each cell by its name: the operation, and what enters it; "in" is what the stack was given.
CELLS = [
    ("p4_1", "gate", ("p6 in", "p4 in"), "p4"),
    ("p4_2", "sum", ("p4_1", "p4 in"), "p4"),
    ("p3", "sum", ("p4_2", "p3 in"), "p3"),
    ("p4", "sum", ("p3", "p4_2"), "p4"),
    ("gate 5", "gate", ("p4", "p3"), "p5"),
    ("p5", "sum", ("p5 in", "gate 5"), "p5"),
    ("gate 7", "gate", ("p5", "p4_2"), "p7"),
    ("p7", "sum", ("p7 in", "gate 7"), "p7"),
    ("p6", "gate", ("p7", "p5"), "p6"),
]


def _fitted(x: Tensor, height: int, width: int) -> Tensor:
    """By loops: the largest of the cells that a cell stands for, or the one that it lies in."""
    found = torch.empty(*x.shape[:2], height, width)
    for row in range(height):
        for column in range(width):
            if x.shape[-2] >= height:
                tall, wide = (2 ** _doublings(a, b) for a, b in _pairs(x, height, width))
                part = x[..., row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
                found[..., row, column] = part.amax((-2, -1))
            else:
                place = (row * x.shape[-2] // height, column * x.shape[-1] // width)
                found[..., row, column] = x[..., place[0], place[1]]
    return found


def _pairs(x: Tensor, height: int, width: int) -> list[tuple[int, int]]:
    return [(x.shape[-2], height), (x.shape[-1], width)]


def _doublings(side: int, fitted: int) -> int:
    count = 0
    while side > fitted:
        side, count = -(-side // 2), count + 1
    return count


def _stack(neck: NASFPN, index: int, levels: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {f"{name} in": level for name, level in levels.items()}
    for name, kind, operands, size in CELLS:
        height, width = levels[size].shape[-2:]
        a, b = (_fitted(found[operand], height, width) for operand in operands)
        if kind == "gate":
            share = 1 / (1 + torch.exp(-b.sum((-2, -1), keepdim=True) / (height * width)))
            x = b + share * a
        else:
            x = a + b
        found[name] = neck.stacks[index].after[name](x) if name in neck.stacks[index].after else x
    return {name: found[name] for name in levels}


@pytest.mark.parametrize("sides", [(32, 48), (26, 18)])
def test_cells_are_joined_as_discovered(sides: tuple[int, int]) -> None:
    torch.manual_seed(0)
    neck = NASFPN(SPECS, nn.BatchNorm2d, nn.ReLU, channels=4, repeats=2, bias=True).eval()
    features, (height, width) = [], sides
    for spec in SPECS:
        features.append(torch.randn(2, spec.channels, height, width))
        height, width = -(-height // 2), -(-width // 2)
    levels = [lateral(x) for lateral, x in zip(neck.lateral, features, strict=True)]
    for coarser in neck.coarser:
        rows, columns = (-(-side // 2) for side in levels[-1].shape[-2:])
        levels.append(_fitted(coarser(levels[-1]), rows, columns))
    expected = dict(zip(("p3", "p4", "p5", "p6", "p7"), levels, strict=True))
    for index in range(2):
        expected = _stack(neck, index, expected)
    for found, level in zip(neck(features), expected.values(), strict=True):
        torch.testing.assert_close(found, level)


def test_the_gate_looks_at_the_second_alone() -> None:
    a, b = torch.randn(1, 2, 3, 4), torch.randn(1, 2, 6, 8)
    like = torch.empty(1, 2, 6, 8)
    assert torch.equal(attended(torch.zeros_like(a), b, like), b)
    share = b.mean((-2, -1)).sigmoid()[..., None, None]
    torch.testing.assert_close(attended(a, b, like) - b, share * resized(a, like))


def test_each_activation_stands_before_its_convolution() -> None:
    neck = NASFPN(SPECS, nn.BatchNorm2d, nn.ReLU, channels=4, repeats=1)
    act, conv = neck.stacks[0].after["p6"]
    assert isinstance(act, nn.ReLU)
    assert [name for name, _ in conv.named_children()] == ["conv", "norm"]


def test_has_the_published_parameters() -> None:
    """On C3 to C5 of ResNet-50: laterals and added levels, then seven stacks of seven cells."""
    specs = [FeatureSpec(512, 8), FeatureSpec(1024, 16), FeatureSpec(2048, 32)]
    with torch.device("meta"):
        neck = NASFPN(specs, nn.BatchNorm2d, nn.ReLU, bias=True)
    assert sum(p.numel() for p in neck.parameters()) == 1_051_136 + 7 * 7 * 590_592
    assert [spec.stride for spec in neck.specs] == [8, 16, 32, 64, 128]


def test_four_levels_get_one_more() -> None:
    neck = NASFPN([FeatureSpec(4, 4), *SPECS], None, nn.ReLU, channels=4, repeats=1)
    assert [spec.stride for spec in neck.specs] == [4, 8, 16, 32, 64]


@pytest.mark.parametrize(
    ("strides", "ends"),
    [([32], "NASFPN fuses two or more"), ([4, 8, 16, 32, 64, 128], "merges 5 levels.*neck=bifpn")],
)
def test_other_numbers_of_levels_are_refused(strides: list[int], ends: str) -> None:
    with pytest.raises(ValueError, match=ends):
        NASFPN([FeatureSpec(4, stride) for stride in strides], None, nn.ReLU)
