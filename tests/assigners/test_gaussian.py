"""CenterNet's heat map against the sheet's radii and against rendering cell by cell."""

import math

import pytest
import torch
from torch import Tensor

from detectors.assigners.gaussian import RADII, Gaussian
from detectors.coders import CenterOffset
from detectors.heads.criterion import Criterion
from detectors.losses.box import SmoothL1
from detectors.losses.classification import GaussianFocal
from detectors.losses.reduction import per_batch_positives
from detectors.structures import Assignment, Targets
from tests.examples import (
    assignable_rows,
    points,
    predictions,
    random_targets,
    shapes,
    targets,
)

CLASSES = 3
CELLS = 16  # per side of a canvas of 64 px at stride 4
SIZES = [(4, 4), (8, 8), (8, 16), (16, 16), (32, 32), (32, 64), (64, 64), (100, 100), (128, 128)]
TABLE = {"released": [1, 2, 2, 4, 8, 11, 17, 27, 34], "exact": [0, 0, 0, 1, 2, 3, 5, 8, 10]}


def radius_by_case(height: int, width: int, overlap: float, kind: str) -> float:
    """The least of three roots, with the divisors and signs of the release or of the algebra."""
    total, product = height + width, height * width
    quadratics = [
        (1, -total, product * (1 - overlap) / (1 + overlap)),
        (4, -2 * total, (1 - overlap) * product),
        (4 * overlap, 2 * overlap * total, (overlap - 1) * product),
    ]
    roots = []
    for case, (a, b, c) in enumerate(quadratics):
        root = math.sqrt(b * b - 4 * a * c)
        if kind == "released":
            roots.append((-b + root) / 2)
        else:
            roots.append((-b + (root if case == 2 else -root)) / (2 * a))
    return min(roots)


def by_loop(objects: Targets, kind: str) -> Assignment:
    """Every Gaussian drawn cell by cell, as CornerNet's `draw_gaussian` does."""
    batch = len(objects.boxes)
    heat = torch.zeros(batch, CELLS * CELLS, CLASSES)
    matched = torch.zeros(batch, CELLS * CELLS, dtype=torch.int64)
    positive = torch.zeros(batch, CELLS * CELLS, dtype=torch.bool)
    for image in range(batch):
        for row in assignable_rows(objects, image):
            x1, y1, x2, y2 = (objects.boxes[image, row] / 4).tolist()
            column, line = int((x1 + x2) / 2), int((y1 + y2) / 2)
            size = math.ceil(y2 - y1), math.ceil(x2 - x1)
            radius = max(0, int(radius_by_case(*size, 0.7, kind)))
            draw(
                heat[image, :, objects.labels[image, row]].view(CELLS, CELLS), column, line, radius
            )
            matched[image, line * CELLS + column] = row
            positive[image, line * CELLS + column] = True
    return Assignment(matched, positive, torch.zeros_like(positive), heat)


def draw(plane: Tensor, column: int, line: int, radius: int) -> None:
    sigma = (2 * radius + 1) / 6
    for y in range(max(0, line - radius), min(CELLS, line + radius + 1)):
        for x in range(max(0, column - radius), min(CELLS, column + radius + 1)):
            value = math.exp(-((x - column) ** 2 + (y - line) ** 2) / (2 * sigma**2))
            plane[y, x] = max(plane[y, x].item(), value if value >= 1.2e-7 else 0.0)


def assigned(objects: Targets, kind: str = "released") -> Assignment:
    priors = points([4])
    raw = predictions(priors, len(objects.boxes), CLASSES)
    return Gaussian(kind, margin=0)(raw, priors.boxes, objects)


def planes(found: Assignment) -> Tensor:
    """Heat map of the first image, [C, H, W]."""
    assert found.scores is not None
    return found.scores[0].T.unflatten(1, (CELLS, CELLS))


@pytest.mark.parametrize("kind", ["released", "exact"])
@pytest.mark.parametrize("seed", range(4))
def test_is_the_map_drawn_cell_by_cell(kind: str, seed: int) -> None:
    torch.manual_seed(seed)
    objects = random_targets(2, 12, CLASSES)
    found, expected = assigned(objects, kind), by_loop(objects, kind)
    assert torch.equal(found.matched, expected.matched)
    assert torch.equal(found.positive, expected.positive)
    assert not found.ignored.any()
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", TABLE)
def test_radii_of_the_sheet(kind: str) -> None:
    radii = RADII[kind](torch.tensor(SIZES).float(), 0.7)
    assert radii.floor().int().tolist() == TABLE[kind]


@pytest.mark.parametrize("kind", TABLE)
@pytest.mark.parametrize("overlap", [0.5, 0.7])
def test_radii_are_the_least_of_three_roots_for_all_sizes(kind: str, overlap: float) -> None:
    sizes = [(h, w) for h in range(1, 129, 3) for w in range(1, 129)]
    radii = RADII[kind](torch.tensor(sizes).float(), overlap).floor().int().tolist()
    assert radii == [int(radius_by_case(h, w, overlap, kind)) for h, w in sizes]


@pytest.mark.parametrize("size", [(8.0, 8.0), (30.0, 12.0), (128.0, 100.0)])
def test_a_shift_by_the_exact_radius_keeps_the_overlap(size: tuple[float, float]) -> None:
    """The worst of the three cases keeps just 0.7, the others more."""
    (w, h), r = size, float(RADII["exact"](torch.tensor(size), 0.7))
    shifted = (w - r) * (h - r) / (2 * w * h - (w - r) * (h - r))
    inwards = (w - 2 * r) * (h - 2 * r) / (w * h)
    outwards = w * h / ((w + 2 * r) * (h + 2 * r))
    assert min(shifted, inwards, outwards) == pytest.approx(0.7, abs=1e-3)


def test_exactly_one_at_the_cell_of_the_centre() -> None:
    """Positives are found by equality with one: nothing may round it."""
    objects = random_targets(4, 12, CLASSES)
    found = assigned(objects)
    assert found.scores is not None
    peaks = (found.scores == 1.0).any(-1)
    assert torch.equal(peaks, found.positive)
    labels = objects.labels.gather(1, found.matched)
    own = found.scores.gather(2, labels[..., None]).squeeze(-1)
    assert (own[found.positive] == 1.0).all()


def test_two_of_a_class_keep_the_larger_value() -> None:
    """Radius 4 around columns 4 and 8: they meet at column 6, both with the value at distance 2."""
    one, other = (0, -16, 0, 48, 64), (0, 0, 0, 64, 64)
    (first, *_), (second, *_) = (planes(assigned(targets([box]))) for box in (one, other))
    (both, *rest) = planes(assigned(targets([one, other])))
    assert torch.equal(both, first.maximum(second))
    assert both[8, 6] == pytest.approx(math.exp(-4 / (2 * 1.5**2)))
    assert sum(plane.sum() for plane in rest) == 0


def test_classes_have_planes_of_their_own() -> None:
    heat = planes(assigned(targets([(0, 0, 0, 40, 40), (2, 2, 2, 42, 42)])))
    assert (heat == 1.0).sum((1, 2)).tolist() == [1, 0, 1]


def test_of_two_in_one_cell_the_later_is_matched_and_one_peak_remains() -> None:
    found = assigned(targets([(1, 0, 0, 18, 18), (1, 1, 1, 19, 19)]))
    assert found.positive.sum() == 1
    assert found.matched[found.positive].tolist() == [1]
    assert (planes(found) == 1.0).sum() == 1


@pytest.mark.parametrize("center", [(64, 64), (64, 30), (70, 80), (-3, 20)])
def test_a_centre_on_the_border_or_beyond_still_has_its_peak(center: tuple) -> None:
    """Where a positive is, there is a one: else its box would be learned at a cell not shown."""
    x, y = center
    found = assigned(targets([(0, x - 9, y - 9, x + 9, y + 9)]))
    assert found.positive.sum() == 1
    assert torch.equal(planes(found)[0].flatten() == 1.0, found.positive[0])


def test_boxes_end_a_cell_before_the_right_and_lower_border() -> None:
    """As in the release: the map has 16 cells, boxes go from 0 to 15."""
    given = targets([(0, -10, 30, 70, 90), (1, 61, 20, 90, 40), (2, 8, 8, 20, 24)])
    cut = targets([(0, 0, 30, 60, 60), (2, 8, 8, 20, 24)])
    priors = points([4])
    found = Gaussian()(predictions(priors, 1, CLASSES), priors.boxes, given)
    expected = assigned(cut)
    assert torch.equal(found.scores, expected.scores)
    assert torch.equal(found.positive, expected.positive)
    assert found.pairs.boxes[found.pairs.weight > 0].tolist() == [[8, 8, 20, 24], [0, 30, 60, 60]]


BOTH = (3, 100, 100, 200, 180), (7, 110, 96, 191, 186)  # in one cell
TWINS = BOTH[0], (3, *BOTH[1][1:])


@pytest.mark.parametrize(("pair", "peaks"), [(BOTH, 2), (TWINS, 1)], ids=["two classes", "one"])
def test_two_in_one_cell_cost_what_they_cost_in_the_release(pair: tuple, peaks: int) -> None:
    """`models/losses.py`: the focal loss divided by peaks, L1 of both objects by twice two."""
    objects, priors, label = targets(pair), points([4], 512, 512), 10
    raw = predictions(priors, 1, label)
    losses = {"class": GaussianFocal(), "box": SmoothL1(0.0, [0.5, 0.5, 0.05, 0.05])}
    criterion = Criterion(label, CenterOffset(), losses, per_batch_positives)
    boxes = criterion.coder.decode(raw.deltas, priors)
    assignment = Gaussian()(raw, boxes, objects)
    found = criterion(raw, boxes, objects, assignment)
    heat, p = assignment.scores[0], raw.logits[0].sigmoid()
    assert (heat == 1).sum() == peaks
    focal = torch.where(
        heat == 1,
        (1 - p) ** 2 * p.log(),
        (1 - heat) ** 4 * p**2 * (1 - p).log(),
    )
    torch.testing.assert_close(found["class"], -focal.sum() / peaks, rtol=1e-4, atol=0)
    cell, cost = 35 * 128 + 37, 0.0
    for _, x1, y1, x2, y2 in pair:
        truth = [(x1 + x2) / 8 - 37, (y1 + y2) / 8 - 35, (x2 - x1) / 4, (y2 - y1) / 4]
        off = [abs(a - b) for a, b in zip(raw.deltas[0, cell].tolist(), truth, strict=True)]
        cost += (off[0] + off[1] + 0.1 * (off[2] + off[3])) / (2 * 2)
    assert found["box"].item() == pytest.approx(cost, rel=1e-4)


def test_all_positives_learn_a_box_where_an_object_has_several() -> None:
    """Two levels of two shapes; in the coarse cell, but not in the fine one, two objects meet."""
    priors = shapes([8, 16], [[(6.0, 9.0), (9.0, 6.0)]] * 2)
    given = targets([(0, 2, 2, 6, 6), (1, 8, 8, 14, 14), (2, 9, 9, 15, 15)])
    found = Gaussian(margin=0)(predictions(priors, 1, CLASSES), priors.boxes, given)
    keeps = found.positive[0].nonzero().flatten().tolist()
    assert found.matched[0, keeps].tolist() == [0, 0, 2, 2, 2, 2]
    real = found.pairs.weight > 0
    assert torch.equal(found.pairs.boxes[real], given.boxes[0, found.pairs.matched[real]])
    pairs = set(zip(*(field[real].tolist() for field in found.pairs[:2]), strict=True))
    assert pairs == {*zip(keeps, [0, 0, 2, 2, 2, 2], strict=True), (keeps[2], 1)}
    assert found.pairs.weight.sum() == 7


def test_unknown_radius_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'paper' is unknown: .*'exact', 'released'"):
        Gaussian(radius="paper")
