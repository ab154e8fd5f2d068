"""ATSS, both SimOTA, OTA and PAA equal their algorithms written as loops."""

import math
import statistics

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou

import detectors
from detectors.assigners.atss import ATSS
from detectors.assigners.ota import OTA, sinkhorn
from detectors.assigners.paa import PAA, below_peak, fitted
from detectors.assigners.sim_ota import SharedSimOTA, SimOTA
from detectors.layers.progress import tell
from detectors.scores import ClassAlone, ClassTimesQuality, RootOfClassTimesQuality
from detectors.structures import Predictions, Priors, Targets
from tests.examples import (
    START,
    assignable_rows,
    points,
    predictions,
    random_targets,
    shapes,
    targets,
)

CLASSES = 3
GRIDS = {
    "anchors": shapes([8, 16], [[(16.0, 12.0), (24.0, 30.0)], [(30.0, 50.0), (60.0, 40.0)]]),
    "points": points([4, 8, 16]),
    "fewer than objects": points([32]),
}
grids = pytest.mark.parametrize("priors", GRIDS.values(), ids=GRIDS.keys())
seeds = pytest.mark.parametrize("seed", range(3))


def example(priors: Priors, seed: int) -> tuple[Predictions, Tensor, Targets]:
    """Two images; an object stands there twice, one lies outside, and in one image is none."""
    torch.manual_seed(seed)
    count = priors.boxes.shape[1]
    objects = random_targets(3, 8, CLASSES)
    objects.boxes[:, 3] = objects.boxes[:, 1]
    objects.boxes[0, 5] = torch.tensor([200.0, 200.0, 220.0, 230.0])
    objects.valid[2] = False
    # predicted boxes are near some object, so that it has more than one good prior
    near = objects.boxes[:, torch.randint(8, (count,))] + 3 * torch.randn(3, count, 4)
    corners = near.unflatten(-1, (2, 2))
    proper = torch.cat([corners.amin(-2), corners.amax(-2) + 0.5], dim=-1)
    return predictions(priors, 3, CLASSES), proper, objects


def squares(priors: Priors) -> Tensor:
    """Boxes [N, 4], for points those of eight strides."""
    grow = 3.5 * priors.stride[:, None] * torch.tensor([-1.0, -1.0, 1.0, 1.0])
    is_point = (priors.boxes[0, :, 2] - priors.boxes[0, :, 0]) == priors.stride
    return priors.boxes[0] + grow * is_point[:, None]


def middles(boxes: Tensor) -> Tensor:
    return (boxes[:, :2] + boxes[:, 2:]) / 2


def check(found, expected: list[dict[int, int]]) -> None:
    """`expected` names the object of each positive prior, image by image."""
    assert not found.ignored.any()
    for image, owners in enumerate(expected):
        rows = found.positive[image].nonzero().flatten().tolist()
        assert {row: int(found.matched[image, row]) for row in rows} == owners
        assert (found.matched[image][~found.positive[image]] == 0).all()


def atss_by_loop(priors: Priors, objects: Targets, k: int) -> list[dict[int, int]]:
    boxes, center, result = squares(priors), middles(priors.boxes[0]), []
    for image in range(len(objects.boxes)):
        best: dict[int, tuple[float, int]] = {}
        for row in assignable_rows(objects, image):
            box = objects.boxes[image, row]
            distance = (center - middles(box[None])).square().sum(1).tolist()
            iou = box_iou(boxes, box[None])[:, 0].tolist()
            candidates, start = [], 0
            for size in priors.level_sizes:
                level = range(start, start + size)
                alike = sum(bool((center[n] == center[start]).all()) for n in level)
                limit = sorted(distance[n] for n in level)[min(k * alike, size) - 1]
                candidates += [n for n in level if distance[n] <= limit]
                start += size
            overlaps = [iou[n] for n in candidates]
            least = statistics.mean(overlaps) + statistics.stdev(overlaps)
            for n in candidates:
                x, y, (left, top, right, bottom) = *center[n].tolist(), box.tolist()
                inside = min(x - left, y - top, right - x, bottom - y) > 0.01
                if inside and iou[n] >= least - 1e-6 and iou[n] > best.get(n, (-1.0, 0))[0]:
                    best[n] = iou[n], row
        result.append({n: row for n, (_, row) in best.items()})
    return result


@grids
@seeds
@pytest.mark.parametrize("k", [9, 3])
def test_atss_is_its_algorithm(priors: Priors, seed: int, k: int) -> None:
    raw, boxes, objects = example(priors, seed)
    expected = atss_by_loop(priors, objects, k)
    assert sum(map(len, expected)) > 0
    check(ATSS(k)(raw, boxes, objects), expected)


def test_atss_by_hand() -> None:
    """An object in the middle of nine points of one level: equal overlaps of four, more of one.

    Squares of 64 px around points 8 px apart and an object of 64 px around the middle one: IoU 1,
    four times 56 / 72, four times 49 / 79. Mean .733, deviation .125: only the middle one passes.
    """
    priors = points([8], 24, 24)
    objects = targets([(0, 12 - 32, 12 - 32, 12 + 32, 12 + 32)])
    found = ATSS()(predictions(priors, 1, 1), priors.boxes, objects)
    assert found.positive[0].nonzero().flatten().tolist() == [4]


def sim_ota_by_loop(
    scores: Tensor, boxes: Tensor, priors: Priors, objects: Targets
) -> list[dict[int, int]]:
    center, result = middles(priors.boxes[0]), []
    for image in range(len(objects.boxes)):
        claims: dict[int, list[tuple[float, int]]] = {}
        for row in assignable_rows(objects, image):
            box = objects.boxes[image, row]
            away = (center - middles(box[None])).abs().amax(1)
            around = (away < 1.5 * priors.stride).nonzero().flatten().tolist()
            iou = box_iou(boxes[image], box[None])[:, 0]
            truth = F.one_hot(objects.labels[image, row], CLASSES).float()
            cost = {
                n: F.binary_cross_entropy(scores[image, n], truth, reduction="sum").item()
                - 3 * math.log(iou[n].item() + 1e-8)
                for n in around
            }
            wanted = max(1, int(sum(sorted((iou[n].item() for n in around), reverse=True)[:10])))
            for n in sorted(around, key=cost.__getitem__)[:wanted]:
                claims.setdefault(n, []).append((cost[n], row))
        result.append({n: min(several)[1] for n, several in claims.items()})
    return result


@grids
@seeds
@pytest.mark.parametrize("score", [ClassAlone(), RootOfClassTimesQuality()])
def test_sim_ota_is_its_algorithm(priors: Priors, seed: int, score) -> None:
    raw, boxes, objects = example(priors, seed)
    expected = sim_ota_by_loop(score(raw.logits, raw.quality), boxes, priors, objects)
    assert sum(map(len, expected)) > 0
    check(SimOTA(score)(raw, boxes, objects), expected)


def test_sim_ota_takes_more_priors_where_more_fit() -> None:
    """Nine perfect boxes around the centre: nine positives; without any overlap still one."""
    priors = points([8], 24, 24)
    objects = targets([(0, 4, 4, 20, 20)])
    right = objects.boxes[:, :1].expand(1, 9, 4)
    raw = predictions(priors, 1, 1)
    assert SimOTA(ClassAlone())(raw, right, objects).positive.sum() == 9
    assert SimOTA(ClassAlone())(raw, right + 100, objects).positive.sum() == 1


def shared_sim_ota_by_loop(
    scores: Tensor, boxes: Tensor, priors: Priors, objects: Targets
) -> list[dict[int, int]]:
    """As `get_geometry_constraint` and `simota_matching` of YOLOX, prior by prior."""
    center, result = middles(priors.boxes[0]), []
    for image in range(len(objects.boxes)):
        rows, cost, iou = assignable_rows(objects, image), {}, {}
        away = {
            row: (center - middles(objects.boxes[image, row][None])).abs().amax(1) for row in rows
        }
        near = {row: (away[row] < 1.5 * priors.stride).tolist() for row in rows}
        candidates = [n for n in range(len(center)) if any(near[row][n] for row in rows)]
        for row in rows:
            truth = F.one_hot(objects.labels[image, row], CLASSES).float()
            overlap = box_iou(boxes[image], objects.boxes[image, row][None])[:, 0]
            for n in candidates:
                root = scores[image, n].sqrt()
                entropy = F.binary_cross_entropy(root, truth, reduction="sum").item()
                outside = 0 if near[row][n] else 1e6
                iou[row, n] = overlap[n].item()
                cost[row, n] = entropy - 3 * math.log(iou[row, n] + 1e-8) + outside
        taken: dict[int, list[int]] = {}
        for row in rows:
            best = sorted((iou[row, n] for n in candidates), reverse=True)[:10]
            for n in sorted(candidates, key=lambda n: cost[row, n])[: max(1, int(sum(best)))]:
                taken.setdefault(n, []).append(row)
        result.append(
            {
                n: of[0] if len(of) == 1 else min(rows, key=lambda row: cost[row, n])
                for n, of in taken.items()
            }
        )
    return result


@pytest.mark.parametrize("grid", ["anchors", "points"])
@seeds
@pytest.mark.parametrize("score", [ClassAlone(), ClassTimesQuality()])
def test_shared_sim_ota_is_its_algorithm(grid: str, seed: int, score) -> None:
    priors = GRIDS[grid]
    raw, boxes, objects = example(priors, seed)
    objects.boxes[:, 2] = torch.tensor([28.0, 28.0, 36.0, 36.0])  # two that share surroundings
    objects.boxes[:, 4] = torch.tensor([20.0, 24.0, 48.0, 44.0])
    expected = shared_sim_ota_by_loop(score(raw.logits, raw.quality), boxes, priors, objects)
    assert sum(map(len, expected)) > 0
    check(SharedSimOTA(score)(raw, boxes, objects), expected)


def test_shared_sim_ota_looks_beyond_the_surroundings_of_an_object() -> None:
    """Of nine points the object in a corner is near four; the one in the middle brings the others.

    All boxes fit the first object, so that it wants nine; without the second one it gets four.
    """
    priors = points([8], 24, 24)
    first, second = (0, 0, 0, 8, 8), (1, 8, 8, 16, 16)
    boxes = torch.tensor([[[0.0, 0.0, 8.0, 8.0]]]).expand(1, 9, 4)
    raw = predictions(priors, 1, 2)
    rule = SharedSimOTA(ClassAlone())
    alone = rule(raw, boxes, targets([first]))
    assert alone.positive[0].nonzero().flatten().tolist() == [0, 1, 3, 4]
    both = rule(raw, boxes, targets([first, second]))
    assert both.positive.all()
    assert (both.matched == 0).sum() >= 8  # the second one wants a single one


def sinkhorn_by_loop(cost: list[list[float]], supply: list[float]) -> list[list[float]]:
    """The release's iteration in double precision, potentials not divided by epsilon."""
    rows, columns = [1.0] * len(cost), [1.0] * len(cost[0])

    def log_sum(values: list[float]) -> float:
        top = max(values)
        return top + math.log(sum(math.exp(value - top) for value in values))

    for _ in range(50):
        for j in range(len(columns)):
            own = [(rows[i] + columns[j] - cost[i][j]) / 0.1 for i in range(len(rows))]
            columns[j] += 0.1 * (math.log(1 + 1e-8) - log_sum(own))
        for i in range(len(rows)):
            own = [(rows[i] + columns[j] - cost[i][j]) / 0.1 for j in range(len(columns))]
            rows[i] += 0.1 * (math.log(supply[i] + 1e-8) - log_sum(own))
    return [
        [math.exp((u + v - c) / 0.1) for v, c in zip(columns, line, strict=True)]
        for u, line in zip(rows, cost, strict=True)
    ]


def ota_by_loop(
    raw: Predictions, boxes: Tensor, objects: Targets, image: int
) -> tuple[list[int], list[list[float]]]:
    """Rows of the objects, and the shares of these and, last, of the background in each prior."""
    priors, rows = raw.priors, assignable_rows(objects, image)
    center = middles(priors.boxes[0])
    cost, supply = [], []
    p = raw.logits[image].sigmoid().double()
    deny = -0.75 * p.square() * (1 - p).log()
    for row in rows:
        box, label = objects.boxes[image, row], int(objects.labels[image, row])
        iou = box_iou(boxes[image], box[None])[:, 0].tolist()
        x1, y1, x2, y2 = box.tolist()
        around, own = [], []
        for n, (x, y) in enumerate(center.tolist()):
            reach = 2.5 * priors.stride[n].item()
            near = abs(x - (x1 + x2) / 2) < reach and abs(y - (y1 + y2) / 2) < reach
            around.append(near and min(x - x1, y - y1, x2 - x, y2 - y) > 0.01)
            right = p[n, label].item()
            focal = deny[n].sum().item() - deny[n, label].item()
            focal -= 0.25 * (1 - right) ** 2 * math.log(right)
            own.append(focal - 1.5 * math.log(max(iou[n], 1.1920929e-7)) + 1e6 * (not around[n]))
        there = sorted((v for v, near in zip(iou, around, strict=True) if near), reverse=True)
        cost.append(own)
        supply.append(max(1, int(sum(there[:20]))))
    cost.append(deny.sum(1).tolist())
    supply.append(len(center) - sum(supply))
    plan = sinkhorn_by_loop(cost, supply)
    return rows, [[share / max(line) for share in line] for line in plan]


@grids
@seeds
def test_ota_is_its_algorithm(priors: Priors, seed: int) -> None:
    raw, boxes, objects = example(priors, seed)
    few = priors.boxes.shape[1] < objects.valid.shape[1]  # priors than objects: nothing is left
    found = OTA(ClassAlone())(raw, boxes, objects)
    assert not found.ignored.any()
    for image in range(2 if not few else 0):
        rows, shares = ota_by_loop(raw, boxes, objects, image)
        for n in range(len(shares[0])):
            positive = bool(found.positive[image, n])
            line = rows.index(int(found.matched[image, n])) if positive else len(rows)
            best = max(share[n] for share in shares)
            assert shares[line][n] >= best - 1e-3, "but for rounding the row of the largest share"
        assert found.positive[image].any()
    assert not found.positive[2].any()


def test_a_plan_has_the_sums_that_were_asked_for() -> None:
    """Rows that take no part get nothing, however cheap they were."""
    cost = torch.rand(2, 4, 30)
    cost[:, 2] = torch.inf
    supply = torch.tensor([[3.0, 5.0, 0.0, 22.0], [1.0, 1.0, 0.0, 28.0]])
    plan = sinkhorn(cost, supply, torch.ones(2, 4), smoothness=0.1, iterations=500).exp()
    torch.testing.assert_close(plan.sum(2), supply, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(plan.sum(1), torch.ones(2, 30), rtol=1e-3, atol=1e-5)


def test_ota_gives_priors_from_elsewhere_to_an_object_without_any_around() -> None:
    """One beside the canvas; it gets the prior whose box overlaps it, the other has the rest."""
    priors = points([8], 24, 24)
    objects = targets([(0, 4, 4, 20, 20), (1, 40, 40, 44, 44)])
    boxes = objects.boxes[:, :1].repeat(1, 9, 1)
    boxes[0, 8] = objects.boxes[0, 1]
    raw = predictions(priors, 1, 2)._replace(logits=torch.full((1, 9, 2), -3.0))
    found = OTA(ClassAlone())(raw, boxes, objects)
    assert found.positive[0, 8]
    assert found.matched[0].tolist() == [0] * 8 + [1]


def mixture_by_loop(losses: list[float], steps: int) -> set[int]:
    """Which of the losses are positive, as scikit-learn's `GaussianMixture` fits them."""
    mean, variance, weight = [min(losses), max(losses)], [1.0, 1.0], [0.5, 0.5]
    before = -math.inf

    def density(x: float, c: int) -> float:
        scale = math.sqrt(2 * math.pi * variance[c])
        return weight[c] * math.exp(-((x - mean[c]) ** 2) / 2 / variance[c]) / scale

    for _ in range(steps):
        likelihood = statistics.fmean(math.log(density(x, 0) + density(x, 1)) for x in losses)
        share = [density(x, 0) / (density(x, 0) + density(x, 1)) for x in losses]
        for c, part in enumerate((share, [1 - s for s in share])):
            size = sum(part) + 2.2e-15
            mean[c] = sum(s * x for s, x in zip(part, losses, strict=True)) / size
            squares = sum(s * (x - mean[c]) ** 2 for s, x in zip(part, losses, strict=True))
            variance[c], weight[c] = squares / size + 1e-6, size / len(losses)
        if abs(likelihood - before) < 1e-3:
            break
        before = likelihood
    lower = [n for n, x in enumerate(losses) if density(x, 0) >= density(x, 1)]
    if not lower:
        return set(range(len(losses)))
    likely = {n: math.log(density(losses[n], 0) + density(losses[n], 1)) for n in lower}
    # Two losses of one component are equally likely, whatever rounds: the test takes the lower one.
    peak = min(losses[n] for n in lower if likely[n] >= max(likely.values()) - 1e-9)
    return {n for n, x in enumerate(losses) if x <= peak}


def paa_by_loop(
    raw: Predictions, boxes: Tensor, objects: Targets, steps: int
) -> list[dict[int, int]]:
    reference, priors, result = squares(raw.priors), raw.priors, []
    for image in range(len(objects.boxes)):
        rows, owners = assignable_rows(objects, image), {}
        iou = box_iou(objects.boxes[image], reference)
        for row in rows:
            costs = {}
            for n in range(len(reference)):
                best = max(rows, key=lambda r: iou[r, n].item())
                forced = any(iou[r, n] == iou[r].max() and iou[r, n] > 0 for r in rows)
                if best == row and (iou[row, n] >= 0.1 or forced):
                    p = raw.logits[image, n].sigmoid().tolist()
                    right = p.pop(int(objects.labels[image, row]))
                    focal = -0.25 * (1 - right) ** 2 * math.log(right)
                    focal += sum(-0.75 * wrong**2 * math.log(1 - wrong) for wrong in p)
                    box = objects.boxes[image, row][None]
                    costs[n] = focal + 1 - generalized_box_iou(boxes[image, n][None], box).item()
            kept, start = [], 0
            for size in priors.level_sizes:
                level = [n for n in costs if start <= n < start + size]
                kept += sorted(level, key=costs.__getitem__)[:9]
                start += size
            for index in mixture_by_loop([costs[n] for n in kept], steps) if kept else ():
                owners[kept[index]] = row
        result.append(owners)
    return result


@grids
@seeds
def test_paa_is_its_algorithm(priors: Priors, seed: int) -> None:
    raw, boxes, objects = example(priors, seed)
    expected = paa_by_loop(raw, boxes, objects, steps=100)
    assert sum(map(len, expected)) > 0
    check(PAA(ClassAlone())(raw, boxes, objects), expected)


def test_paa_parts_two_heaps_at_the_middle_of_the_lower_one() -> None:
    """Losses around .3 and around 2; the lower heap's most likely value is its middle."""
    loss = torch.tensor([0.2, 1.9, 0.3, 2.1, 0.4, 2.0, torch.inf])
    assert below_peak(loss, 10).tolist() == [True, False, True, False, False, False, False]
    assert below_peak(torch.tensor([0.7, torch.inf]), 10).tolist() == [True, False]
    assert below_peak(torch.full((4,), 0.7), 10).all()
    assert not below_peak(torch.full((4,), torch.inf), 10).any()


def test_paa_needs_no_more_steps() -> None:
    """The mixture has converged long before the limit: a larger one changes nothing."""
    heaps = torch.where(torch.rand(200, 27) < 0.4, 0.5, 1.6) + 0.3 * torch.randn(200, 27)
    assert torch.equal(below_peak(heaps, 50), below_peak(heaps, 100))


def test_paa_takes_the_very_best_value_for_the_peak() -> None:
    """The second value is likelier by less than a thousandth of its logarithm, and is taken."""
    loss = torch.tensor([0.2, 0.21, 0.22, 0.23, 2.0, 2.1])
    logs = fitted(loss.double(), torch.ones(6, dtype=torch.bool), 100)
    best = logs.logsumexp(0)[:4].argmax()
    assert below_peak(loss, 100).tolist() == [n <= best for n in range(6)]


ASSIGNERS = {
    "atss": ATSS(),
    "sim_ota": SimOTA(ClassAlone()),
    "ota": OTA(ClassAlone(), iterations=5),
    "paa": PAA(ClassAlone(), steps=5),
}
assigners = pytest.mark.parametrize("assigner", ASSIGNERS.values(), ids=ASSIGNERS.keys())


@assigners
def test_is_one_graph(assigner) -> None:
    raw, boxes, objects = example(GRIDS["anchors"], 0)
    compiled = torch.compile(assigner, fullgraph=True, backend="eager")
    for ours, theirs in zip(
        compiled(raw, boxes, objects), assigner(raw, boxes, objects), strict=True
    ):
        assert ours is theirs or torch.equal(ours, theirs)


@pytest.mark.parametrize(
    ("family", "word"),
    [
        ("retinanet", "paa"),
        ("yolov1", "sim_ota"),
        ("yolov2", "atss"),
        ("yolov3", "sim_ota"),
        ("yolov4", "paa"),
        ("ssd300", "ota"),
        ("yolov2", "ota"),
        ("centernet", "sim_ota"),
        pytest.param("fcos", "atss", marks=pytest.mark.slow),
        pytest.param("ssd300", "paa", marks=pytest.mark.slow),
        pytest.param("retinanet", "ota", marks=pytest.mark.slow),
    ],
)
def test_trains_every_kind_of_family(family: str, word: str) -> None:
    """Losses and gradients are finite and something is positive, one image being empty."""
    side = 160 if family != "ssd300" else 300
    words = ["size=small", f"image_size={side}", f"assigner={word}"]
    detector = detectors.build(family, words, num_classes=CLASSES)
    seen = []
    detector.head.assigner.register_forward_hook(lambda *call: seen.append(call[2]))
    objects = targets([(0, 20, 30, 90, 120), (2, 70, 10, 150, 80)], [])
    images = torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8)
    tell(detector, START)
    losses = detector.loss(images, objects)
    sum(losses.values()).backward()
    assert all(term.isfinite() for term in losses.values())
    assert all(p.grad is None or p.grad.isfinite().all() for p in detector.parameters())
    assert seen[0].positive.sum(1).tolist()[0] > 0
    assert seen[0].positive.sum(1).tolist()[1] == 0
