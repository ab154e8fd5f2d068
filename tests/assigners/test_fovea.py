"""FoveaBox's assignment as the release paints its maps, and on the borders of its rules."""

import math

import pytest
import torch

from detectors.assigners.fovea import Fovea
from detectors.structures import Priors, Targets
from tests.examples import assignable_rows, points, predictions, random_targets, targets

SIDE = 64


def painted(priors: Priors, strides: list[int], objects: Targets, image: int) -> list[int]:
    """The object of each point, -1 for none; maps are painted from the largest object on."""
    found: list[int] = []
    for stride in strides:
        cells = math.ceil(SIDE / stride)
        level = [[-1] * cells for _ in range(cells)]
        rows = assignable_rows(objects, image)
        boxes = {row: objects.boxes[image, row].tolist() for row in rows}
        scale = {r: math.sqrt((b[2] - b[0]) * (b[3] - b[1])) for r, b in boxes.items()}
        for row in sorted(rows, key=lambda row: -scale[row]):
            low = 0 if stride == strides[0] else 2 * stride
            high = math.inf if stride == strides[-1] else 8 * stride
            if not low <= scale[row] <= high:
                continue
            spans = []
            for first, last in (boxes[row][::2], boxes[row][1::2]):
                start, half = first / stride, (last - first) / stride / 2
                ends = math.ceil(start + 0.6 * half - 0.5), math.floor(start + 1.4 * half - 0.5)
                spans.append([min(max(end, 0), cells - 1) for end in ends])
            (left, right), (top, bottom) = spans
            for y in range(top, bottom + 1):
                for x in range(left, right + 1):
                    level[y][x] = row
        found += [row for line in level for row in line]
    return found


@pytest.mark.parametrize("strides", [[4, 8, 16], [8], [2, 4]])
@pytest.mark.parametrize("seed", range(3))
def test_is_the_rule_written_as_loops(strides: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    priors, objects = points(strides, SIDE, SIDE), random_targets(2, 8, 3)
    found = Fovea()(predictions(priors, 2, 3), priors.boxes, objects)
    expected = torch.tensor([painted(priors, strides, objects, image) for image in range(2)])
    assert (expected >= 0).any()
    assert torch.equal(found.positive, expected >= 0)
    assert torch.equal(found.matched, expected.clamp(min=0))
    assert not found.ignored.any()


def cells(objects: Targets, strides: list[int]) -> set[tuple[int, int, int]]:
    """(stride, column, row) of the positive cells of one image."""
    priors = points(strides, SIDE, SIDE)
    rows = Fovea()(predictions(priors, 1, 2), priors.boxes, objects).positive[0]
    place = (priors.boxes[0, :, :2] / priors.stride[:, None]).long()
    return {(int(s), *c) for s, c in zip(priors.stride[rows], place[rows].tolist(), strict=True)}


def test_two_levels_share_an_object_of_their_common_sizes() -> None:
    """40 x 40 pixels: from 32 on at stride 16, up to 64 at stride 8; foveae of 16 x 16 pixels."""
    found = cells(targets([(0, 12, 12, 52, 52)]), [8, 16, 32])
    assert found == {(8, 3, 3), (8, 3, 4), (8, 4, 3), (8, 4, 4)} | {
        (16, x, y) for x in (1, 2) for y in (1, 2)
    }


def test_a_fovea_without_a_middle_of_a_cell_trains_none() -> None:
    assert cells(targets([(0, 10, 10, 14, 14)]), [8]) == {(8, 1, 1)}
    assert cells(targets([(0, 14, 14, 18, 18)]), [8]) == set()


def test_a_fovea_beyond_the_last_middle_trains_the_last_cell() -> None:
    assert cells(targets([(0, 61, 26, 64, 30)]), [8]) == {(8, 7, 3)}


def test_the_smaller_of_two_objects_wins() -> None:
    priors = points([8], SIDE, SIDE)
    objects = targets([(0, 8, 8, 56, 56), (1, 20, 20, 44, 44)])
    found = Fovea()(predictions(priors, 1, 2), priors.boxes, objects)
    inner = {(int(n) % 8, int(n) // 8) for n in (found.matched[0] == 1).nonzero()}
    assert inner == {(x, y) for x in (3, 4) for y in (3, 4)}
    assert found.positive.sum() == 4
