"""FCOS's assignment against plain loops, and on its borders."""

import pytest
import torch

from detectors.assigners.center_sampling import CenterSampling, size_ranges
from detectors.structures import Assignment, Priors, Targets
from tests.examples import assignable_rows, points, predictions, random_targets, targets


def by_loop(priors: Priors, objects: Targets, radius: float) -> list[list[int]]:
    """For each image the object of each point, -1 for none: the rules of torchvision's FCOS."""
    strides = priors.stride.tolist()
    finest, coarsest = strides[0], strides[-1]
    result = []
    for image in range(len(objects.boxes)):
        chosen = []
        for (x1, y1, x2, y2), stride in zip(priors.boxes[0].tolist(), strides, strict=True):
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
            best, smallest = -1, float("inf")
            for row in assignable_rows(objects, image):
                left, top, right, bottom = objects.boxes[image, row].tolist()
                reach = max(x - left, y - top, right - x, bottom - y)
                away = max(abs(x - (left + right) / 2), abs(y - (top + bottom) / 2))
                inside = min(x - left, y - top, right - x, bottom - y) > 0
                large_enough = stride == finest or reach > 4 * stride
                small_enough = stride == coarsest or reach < 8 * stride
                area = (right - left) * (bottom - top)
                fits = inside and away < radius * stride and large_enough and small_enough
                if fits and area < smallest:
                    best, smallest = row, area
            chosen.append(best)
        result.append(chosen)
    return result


@pytest.mark.parametrize("radius", [1.5, 3.0, 100.0])
@pytest.mark.parametrize("strides", [[4, 8, 16], [8]])
@pytest.mark.parametrize("seed", range(3))
def test_is_the_rule_written_as_loops(radius: float, strides: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    priors, objects = points(strides), random_targets(2, 8, 3)
    found = CenterSampling(radius)(predictions(priors, 2, 3), priors.boxes, objects)
    expected = torch.tensor(by_loop(priors, objects, radius))
    assert torch.equal(found.positive, expected >= 0)
    assert torch.equal(found.matched, expected.clamp(min=0))
    assert not found.ignored.any()


def assigned(objects: Targets, priors: Priors, radius: float = 1.5) -> Assignment:
    return CenterSampling(radius)(predictions(priors, 1, 2), priors.boxes, objects)


def positive_points(objects: Targets, priors: Priors, radius: float = 1.5) -> set[tuple]:
    """(stride, x, y) of the positive points of one image."""
    rows = assigned(objects, priors, radius).positive[0]
    center = (priors.boxes[0, :, :2] + priors.boxes[0, :, 2:]) / 2
    return {(int(s), *map(int, c)) for s, c in zip(priors.stride[rows], center[rows], strict=True)}


def test_a_reach_of_just_64_fits_no_level() -> None:
    """Points on corners; the object spans 128 px, so 64 px from its middle to each side."""
    priors = points([8, 16, 32], 256, 256, offset=0.0)
    found = positive_points(targets([(0, 0, 0, 128, 128)]), priors)
    assert found == {(16, x, y) for x in (48, 64, 80) for y in (48, 64, 80)} - {(16, 64, 64)}


@pytest.mark.parametrize(("side", "stride"), [(126, 8), (130, 16), (254, 16), (258, 32), (510, 32)])
def test_sizes_are_shared_out_to_levels(side: int, stride: int) -> None:
    """At the middle of the object, sides of 128 and 256 px part the levels."""
    priors = points([8, 16, 32], 640, 640, offset=0.0)
    middle = 256
    box = (middle - side / 2, middle - side / 2, middle + side / 2, middle + side / 2)
    found = positive_points(targets([(0, *box)]), priors)
    assert {s for s, x, y in found if x == y == middle} == {stride}


def test_the_sides_of_an_object_are_outside() -> None:
    """A box from 8 to 16 px holds no corner point of stride 8 in its interior, only four on it."""
    priors = points([8], offset=0.0)
    assert positive_points(targets([(0, 8, 8, 16, 16)]), priors) == set()
    assert positive_points(targets([(0, 7, 7, 16, 16)]), priors) == {(8, 8, 8)}


def test_a_point_at_just_the_radius_is_too_far() -> None:
    """Centre (20, 20), radius 12 px: 8 and 32 are just too far, 16 and 24 near enough."""
    priors = points([8], offset=0.0)
    found = positive_points(targets([(0, 0, 0, 40, 40)]), priors)
    assert found == {(8, x, y) for x in (16, 24) for y in (16, 24)}


def test_the_smallest_of_several_objects_wins_the_first_of_equals() -> None:
    priors = points([8])
    large, small = (0, 0, 0, 40, 40), (1, 14, 14, 26, 26)
    found = assigned(targets([large, small, small]), priors)
    inner = 2 * 8 + 2  # the point (20, 20) in row 2, column 2
    assert found.positive[0, inner]
    assert found.matched[0, inner] == 1


def test_ranges_of_the_paper() -> None:
    """Sec. 3.2: 0, 64, 128, 256, 512 and infinity."""
    lower, upper = size_ranges(points([8, 16, 32, 64, 128], 128, 128))
    assert lower.unique().tolist() == [0, 64, 128, 256, 512]
    assert upper.unique().tolist() == [64, 128, 256, 512, float("inf")]
