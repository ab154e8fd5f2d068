"""Corners are learnt where objects begin and end, and grouped as by loops over all pairs."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import detectors
from detectors.assigners.gaussian import exact_radius, released_radius
from detectors.detector import Detector
from detectors.heads.corners import CornerHead
from detectors.heads.grouping import CORNERS, CenterTriplets, CornerPairs, PointMap, best_peaks
from detectors.structures import Candidates, Priors, Targets
from tests.examples import points, random_targets, targets
from tests.test_models import lively

STRIDE, HEIGHT, WIDTH, CLASSES = 4, 64, 96, 3
SIZE = HEIGHT // STRIDE, WIDTH // STRIDE
SMALL = ["size=small", f"image_size=[{HEIGHT},{WIDTH}]"]
FRAMES = torch.tensor([[0.0, 0, WIDTH, HEIGHT]]).repeat(2, 1)
FAMILIES = {"cornernet": (exact_radius, 0.3), "centernet_triplets": (released_radius, 0.7)}
SIGMAS = {"top_left": 6, "bottom_right": 6, "center": 5}  # of a diameter


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def detector(family: str) -> Detector:
    torch.manual_seed(0)
    return lively(detectors.build(family, SMALL, num_classes=CLASSES)).eval()


def place_of(name: str, box: list[float]) -> tuple[float, float]:
    """The named point of a box in cells."""
    x1, y1, x2, y2 = (side / STRIDE for side in box)
    return {
        "top_left": (x1, y1),
        "bottom_right": (x2, y2),
        "center": ((x1 + x2) / 2, (y1 + y2) / 2),
    }[name]


def last(detector: Detector) -> CornerHead:
    return detector.head.heads[-1]


def predicted(detector: Detector, objects: Targets) -> Any:
    torch.manual_seed(1)
    images = torch.rand(len(objects.boxes), 3, HEIGHT, WIDTH) * 255
    features = detector.features(images)[-1:]
    return last(detector)(features, FRAMES[: len(images)], objects)


def cut(objects: Targets, image: int) -> list[tuple[int, list[float]]]:
    """Label and box of the objects that are learnt, cut to the canvas less a pixel."""
    found = []
    rows = zip(*(field[image].tolist() for field in objects), strict=True)
    for box, label, valid, ignore in rows:
        limits = (WIDTH - 1, HEIGHT - 1) * 2
        box = [min(max(side, 0.0), limit) for side, limit in zip(box, limits, strict=True)]
        if valid and not ignore and box[2] > box[0] and box[3] > box[1]:
            found.append((label, box))
    return found


def drawn(objects: list[tuple[int, list[float]]], name: str, family: str) -> Tensor:
    """Heat maps [C, H, W] of one point, Gaussian by Gaussian (the release's sample/coco.py)."""
    radius_of, overlap = FAMILIES[family]
    heat = torch.zeros(CLASSES, *SIZE)
    for label, box in objects:
        column, row = map(int, place_of(name, box))
        cells = [math.ceil((box[i + 2] - box[i]) / STRIDE) for i in (0, 1)]
        radius = max(0, int(radius_of(torch.tensor(cells, dtype=torch.float32), overlap)))
        sigma = (2 * radius + 1) / SIGMAS[name]
        for y in range(max(0, row - radius), min(SIZE[0], row + radius + 1)):
            for x in range(max(0, column - radius), min(SIZE[1], column + radius + 1)):
                value = math.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * sigma**2))
                heat[label, y, x] = max(float(heat[label, y, x]), value)
    return heat


def on_borders_of_cells() -> Targets:
    """Corners on cells' borders, sides that no float32 halves without rounding."""
    starts, sides = torch.arange(8.0) * 4, torch.linspace(5.1, 33.3, 8)
    low = torch.stack([starts, starts.flip(0)], dim=-1)
    boxes = torch.cat([low, low + sides[:, None]], dim=-1)[None]
    labels = torch.arange(8)[None] % CLASSES
    return Targets(boxes, labels, labels >= 0, labels < 0)


CASES = {
    "random": lambda: random_targets(2, 6, CLASSES, canvas=float(HEIGHT)),
    "borders": on_borders_of_cells,
    "none": lambda: targets([], []),
    "beyond": lambda: targets([(1, -9, -5, 200, 99), (0, 96, 2, 99, 9), (2, 90, 60, 95.5, 64)]),
    "one_cell": lambda: targets([(1, 8, 8, 20, 20), (1, 9, 9, 30, 21), (2, 8, 9, 20, 20)]),
}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_losses_are_those_of_loops(detector: Detector, family: str, case: str) -> None:
    """Heat maps, offsets and tags as in the release, object by object."""
    torch.manual_seed(2)
    objects = CASES[case]()
    output = predicted(detector, objects)
    found = last(detector).loss(output, objects)
    expected, weight = dict.fromkeys(found, 0.0), {"cornernet": 0.5}.get(family, 0.6)
    for name in output.points:
        peaks, heat_cost, offset_cost, count = 0, 0.0, 0.0, 0
        for image in range(len(objects.boxes)):
            shown = cut(objects, image)
            target = drawn(shown, name, family).flatten(1).T  # [H W, C]
            p = output.points[name].logits[image].sigmoid()
            at_peak = -((1 - p) ** 2) * p.log()
            elsewhere = -((1 - target) ** 4) * p**2 * (1 - p).log()
            heat_cost += float(torch.where(target == 1, at_peak, elsewhere).sum())
            peaks += int((target == 1).sum())
            for _, box in shown:
                place = place_of(name, box)
                cell = int(place[1]) * SIZE[1] + int(place[0])
                deltas = output.points[name].deltas[image, cell].tolist()
                for offset, at in zip(deltas, place, strict=True):
                    error = abs(offset - (at - int(at)))
                    offset_cost += error**2 / 2 if error < 1 else error - 0.5
                count += 1
        expected["class"] += heat_cost / max(peaks, 1)
        expected["box"] += offset_cost / max(count, 1)
    for image in range(len(objects.boxes)):
        tags = []
        for _, box in cut(objects, image):
            cells = {name: map(int, place_of(name, box)) for name in CORNERS}
            tags.append(
                [float(output.tags[n][image].view(SIZE)[y, x]) for n, (x, y) in cells.items()]
            )
        means, share = [sum(pair) / 2 for pair in tags], weight / len(objects.boxes)
        others = max(len(tags) * (len(tags) - 1), 1)
        for k, mean in enumerate(means):
            expected["pull"] += share * sum((tag - mean) ** 2 for tag in tags[k]) / len(tags)
            apart = [max(0.0, 1 - abs(mean - other)) for other in means]
            expected["push"] += share * (sum(apart) - apart[k]) / others
    for name, cost in expected.items():
        assert found[name].item() == pytest.approx(cost, rel=2e-4, abs=1e-6), name


def test_a_loss_of_two_pictures_is_made_of_those_of_each(detector: Detector) -> None:
    """Tags by images, not by objects."""
    objects = targets([(1, 8, 8, 40, 60), (0, 9, 30, 50, 61)], [(2, 30, 2, 60, 20)])
    output = predicted(detector, objects)
    found = last(detector).loss(output, objects)
    alone = []
    for image in range(2):
        rows = slice(image, image + 1)
        own = Targets(*(field[rows] for field in objects))
        parts = {n: p._replace(logits=p.logits[rows], deltas=p.deltas[rows])
                 for n, p in output.points.items()}  # fmt: skip
        tags = {name: tag[rows] for name, tag in output.tags.items()}
        given = output._replace(points=parts, tags=tags, frames=FRAMES[rows])
        alone.append(last(detector).loss(given, own))
    for name in ("pull", "push"):
        torch.testing.assert_close(found[name], (alone[0][name] + alone[1][name]) / 2)


def map_of(heat: Tensor, offsets: Tensor, tags: Tensor) -> PointMap:
    """Of scores [C, H, W], points [H W, 2] and tags [H W] of one image."""
    height, width = heat.shape[1:]
    priors = points([STRIDE], height * STRIDE, width * STRIDE)
    corner = priors.boxes[0, :, :2] + offsets * STRIDE
    boxes = torch.cat([corner, corner], dim=-1)[None]
    candidates = Candidates(boxes, heat.flatten(1).T[None], priors)
    return PointMap(candidates, tags[None], (height, width))


def loops(maps: dict[str, PointMap], most: int, distance: float) -> list[tuple]:
    """Boxes by a double loop over corners, best first (the release's kp_utils.py)."""
    corners = {name: _peaks(maps[name])[:most] for name in CORNERS}
    found = []
    for score, label, x1, y1, tag in corners["top_left"]:
        for other, own, x2, y2, mark in corners["bottom_right"]:
            if label == own and abs(tag - mark) <= distance and x2 >= x1 and y2 >= y1:
                found.append(((score + other) / 2, label, x1, y1, x2, y2))
    return sorted(found, reverse=True)


def _peaks(given: PointMap) -> list[tuple]:
    """(score, label, x, y, tag) of the cells that no neighbour beats, best first."""
    height, width = given.size
    scores, boxes = given.candidates.scores[0], given.candidates.boxes[0]
    found = []
    for label in range(scores.shape[1]):
        heat = scores[:, label].view(height, width).tolist()
        for row in range(height):
            for column in range(width):
                near = [
                    heat[y][x]
                    for y in range(max(row - 1, 0), min(row + 2, height))
                    for x in range(max(column - 1, 0), min(column + 2, width))
                ]
                cell = row * width + column
                if heat[row][column] == max(near):
                    x, y = boxes[cell, :2].tolist()
                    found.append((heat[row][column], label, x, y, float(given.tags[0, cell])))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("most", [1, 5, 12])
@pytest.mark.parametrize("distance", [0.1, 0.5, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_groups_as_a_double_loop(most: int, distance: float, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)

    def one() -> PointMap:
        heat = torch.rand(CLASSES, 6, 7, generator=draw)
        numbers = torch.rand(42, 2, generator=draw), torch.randn(42, generator=draw)
        return map_of(heat, *numbers)

    maps = {name: one() for name in CORNERS}
    expected = loops(maps, most, distance)
    boxes, scores, labels = CornerPairs(most, distance, pairs=50)(maps, FRAMES[:1])
    real = scores[0] > 0
    assert int(real.sum()) == len(expected[:50])
    assert (boxes[0, ~real] == 0).all()
    assert (scores[0].diff() <= 0).all()
    for row, (score, label, *box) in enumerate(expected[:50]):
        assert scores[0, row].item() == pytest.approx(score, rel=1e-6)
        assert labels[0, row] == label
        torch.testing.assert_close(boxes[0, row], torch.tensor(box))


def with_centers(
    pairs: list[tuple], centers: list[tuple], frame: list[float], large: float
) -> list[tuple]:
    """Pairs in whose middle a centre lies, best first (the release's test/coco.py)."""
    found = []
    for score, label, x1, y1, x2, y2 in pairs:
        low, high, far, deep = frame
        if x1 <= low - 5 or y1 <= high - 5 or x2 >= far + 5 or y2 >= deep + 5:
            continue
        x1, x2 = (min(max(x, low), far) for x in (x1, x2))
        y1, y2 = (min(max(y, high), deep) for y in (y1, y2))
        if (x2 - x1) * (y2 - y1) <= large:
            left, right = (2 * x1 + x2) / 3, (x1 + 2 * x2) / 3
            top, bottom = (2 * y1 + y2) / 3, (y1 + 2 * y2) / 3
        else:
            left, right = (3 * x1 + 2 * x2) / 5, (2 * x1 + 3 * x2) / 5
            top, bottom = (3 * y1 + 2 * y2) / 5, (2 * y1 + 3 * y2) / 5
        for center, own, x, y, _ in centers:
            if own == label and left < x < right and top < y < bottom:
                found.append(((2 * score + center) / 3, label, x1, y1, x2, y2))
                break
    return sorted(found, key=lambda row: -row[0])


@pytest.mark.parametrize("large", [1.0, 150.0, 1e9])
@pytest.mark.parametrize("frame", [[0.0, 0, 48, 40], [12.0, 8, 30, 40]])
@pytest.mark.parametrize("seed", range(3))
def test_triplets_as_loops_over_pairs_and_centres(
    large: float, frame: list[float], seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)

    def one() -> PointMap:
        heat = torch.rand(2, 10, 12, generator=draw)
        numbers = torch.rand(120, 2, generator=draw), torch.randn(120, generator=draw)
        return map_of(heat, *numbers)

    maps = {name: one() for name in (*CORNERS, "center")}
    centers = _peaks(maps["center"])[:25]
    expected = with_centers(loops(maps, 25, 9.0), centers, frame, large)
    grouping = CenterTriplets(CornerPairs(25, 9.0, pairs=625), most=25, large=large)
    boxes, scores, labels = grouping(maps, torch.tensor([frame]))
    assert int((scores[0] > 0).sum()) == len(expected)
    for row, (score, label, *box) in enumerate(expected):
        assert scores[0, row].item() == pytest.approx(score, rel=1e-5)
        assert labels[0, row] == label
        torch.testing.assert_close(boxes[0, row], torch.tensor(box))
    assert expected or frame[0]  # whole pictures have some


def test_nothing_groups_where_no_corner_fits() -> None:
    """Another class, a tag too far away, or the wrong order: nothing but zeros is left."""
    for far, other, swapped in ((True, False, False), (False, True, False), (False, False, True)):
        first, second = torch.zeros(2, 2, 4, 4)
        first[0, 0, 0], second[int(other), 3, 3] = 0.9, 0.8
        tags = torch.zeros(16)
        maps = [map_of(first, torch.zeros(16, 2), tags)]
        maps.append(map_of(second, torch.zeros(16, 2), tags + (0.6 if far else 0.5)))
        named = dict(zip(CORNERS, reversed(maps) if swapped else maps, strict=True))
        assert (CornerPairs(most=1)(named, FRAMES[:1]).scores == 0).all()
    named = dict(zip(CORNERS, [map_of(first, torch.zeros(16, 2), tags)] * 2, strict=True))
    alone = CornerPairs(most=1)(named, FRAMES[:1])  # a corner may lie on the other
    assert alone.scores.tolist() == [[pytest.approx(0.9)]]
    assert torch.equal(alone.boxes[..., :2], alone.boxes[..., 2:])


def test_equal_neighbours_are_both_peaks() -> None:
    heat = torch.zeros(1, 3, 5)
    heat[0, 1, 1:4] = torch.tensor([0.5, 0.5, 0.4])
    found = best_peaks(map_of(heat, torch.zeros(15, 2), torch.arange(15.0)), most=3)
    assert sorted(found.tags[0, :2].tolist()) == [6.0, 7.0]
    assert found.scores[0].tolist() == [0.5, 0.5, 0.0]


@torch.no_grad()
def test_detects_what_is_grouped_and_lowered(detector: Detector) -> None:
    output = predicted(detector, targets([], []))
    found = last(detector).detect(output)
    grouped = last(detector).grouping(
        {
            name: PointMap(head.detect(output.points[name]), output.tags.get(name), SIZE)
            for name, head in last(detector).points.items()
        },
        FRAMES,
    )
    assert torch.equal(found.scores.amax(-1), grouped.scores)
    assert torch.equal(found.scores.argmax(-1)[grouped.scores > 0],
                       grouped.labels[grouped.scores > 0])  # fmt: skip
    assert ((found.scores > 0).sum(-1) <= 1).all()
    assert isinstance(found.priors, Priors)


def test_assigns_each_object_the_cell_of_its_corner(detector: Detector) -> None:
    objects = targets([(1, 9, 8, 40, 60)])
    output = predicted(detector, objects)
    priors, assignment = last(detector).assign(output, objects)
    (place,) = assignment.positive[0].nonzero().flatten().tolist()
    assert (place // SIZE[1], place % SIZE[1]) == (2, 2)
    assert priors.boxes.shape[1] == SIZE[0] * SIZE[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["box_loss=giou"], "IoULoss looks at decoded boxes.*box_loss=offset"),
        (["box_loss=smooth_l1"], "looks at a box.*decodes a point.*box_loss=offset"),
        (["coder=center_offset", "box_loss=center_l1"], "CornerHead groups points"),
        (["head=stacked"], "finds points, but nothing makes boxes of them"),
        (["tower=centernet"], "decodes 2 numbers.*CenterNetTower regresses four"),
    ],
)
def test_what_would_make_no_boxes_is_refused(words: list[str], told: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=told):
        detectors.build("cornernet", [*SMALL, *words])


def test_points_and_poolings_are_of_the_same_kinds() -> None:
    told = "dense heads for top_left, bottom_right, center, but poolings for top_left, bottom_right"
    with torch.device("meta"), pytest.raises(ValueError, match=told):
        detectors.build("centernet_triplets", [*SMALL, "part.head.head.center_pool=null"])
