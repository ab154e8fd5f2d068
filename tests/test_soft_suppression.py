"""Suppressors that change scores or boxes, against their algorithms written as loops."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor
from torchvision.ops import box_iou

from detectors.ops.suppression import gaussian, linear, soft_scores
from detectors.postprocess import (
    Fusion,
    Greedy,
    Matrix,
    Ranked,
    ScoreVoting,
    Soft,
    Suppression,
)
from detectors.structures import Candidates, Priors
from tests.examples import points, random_boxes

COUNT = 40
DECAYS = {"gaussian": partial(gaussian, sigma=0.5), "linear": partial(linear, threshold=0.3)}


def factor(kind: str, iou: float, threshold: float = 0.3) -> float:
    if kind == "gaussian":
        return math.exp(-(iou**2) / 0.5)
    return 1 - iou if iou >= threshold else 1.0


def ranked(empty: bool = False) -> Ranked:
    """Two images of crowded boxes of two classes, scores falling; one in ten is not valid."""
    corner = torch.rand(2, COUNT, 2) * 20
    boxes = torch.cat([corner, corner + 5 + 15 * torch.rand(2, COUNT, 2)], dim=-1)
    boxes[:, 7] = boxes[:, 3]  # one stands there twice
    labels = torch.randint(2, (2, COUNT))
    labels[:, 7] = labels[:, 3]
    valid = torch.rand(2, COUNT) < (0.0 if empty else 0.9)
    scores = torch.rand(2, COUNT).sort(1, descending=True).values
    priors = Priors(boxes[:1], torch.ones(COUNT), (COUNT,), (64, 64))
    return Ranked(boxes, scores, labels, valid, torch.arange(COUNT).expand(2, -1), priors)


def soft_by_loop(boxes: Tensor, scores: list[float], labels: list[int], kind: str) -> list[float]:
    """Bodla et al. 2017, Alg. 1."""
    iou, left, found = box_iou(boxes, boxes).tolist(), set(range(len(boxes))), list(scores)
    while left:
        best = max(left, key=found.__getitem__)
        left.remove(best)
        for other in left:
            if labels[other] == labels[best]:
                found[other] *= factor(kind, iou[best][other])
    return found


@pytest.mark.parametrize("kind", DECAYS)
def test_soft_nms_is_its_algorithm(kind: str) -> None:
    given = ranked()
    found = Soft(DECAYS[kind], 0.05)(given)
    for image in range(2):
        (rows,) = given.valid[image].nonzero(as_tuple=True)
        expected = soft_by_loop(
            given.boxes[image, rows],
            given.scores[image, rows].tolist(),
            given.labels[image, rows].tolist(),
            kind,
        )
        torch.testing.assert_close(found.scores[image, rows], torch.tensor(expected))
        assert found.valid[image, rows].tolist() == [score >= 0.05 for score in expected]
    assert not (found.valid & ~given.valid).any()
    assert not torch.equal(found.scores, given.scores)


def test_soft_scores_do_not_depend_on_the_order() -> None:
    given, order = ranked(), torch.randperm(COUNT)
    fields = (given.boxes, given.scores, given.labels)
    plain = soft_scores(*fields, DECAYS["gaussian"])
    other = soft_scores(*(field[:, order] for field in fields), DECAYS["gaussian"])
    torch.testing.assert_close(other, plain[:, order])


def matrix_by_loop(boxes: Tensor, scores: list[float], labels: list[int], kind: str) -> list[float]:
    """SOLOv2, "Matrix NMS", pair by pair; scores fall."""
    iou, found = box_iou(boxes, boxes).tolist(), []
    for j, score in enumerate(scores):
        decay = 1.0
        for i in (i for i in range(j) if labels[i] == labels[j]):
            most = max((iou[k][i] for k in range(i) if labels[k] == labels[i]), default=0.0)
            own, other = factor(kind, iou[i][j], 0.0), factor(kind, most, 0.0)
            decay = min(decay, own / max(other, 1e-12))
        found.append(score * decay)
    return found


@pytest.mark.parametrize("kind", DECAYS)
def test_matrix_nms_is_its_formula(kind: str) -> None:
    given = ranked()
    decay = DECAYS[kind] if kind == "gaussian" else partial(linear, threshold=0.0)
    found = Matrix(decay, 0.05)(given)
    for image in range(2):
        (rows,) = given.valid[image].nonzero(as_tuple=True)
        expected = matrix_by_loop(
            given.boxes[image, rows],
            given.scores[image, rows].tolist(),
            given.labels[image, rows].tolist(),
            kind,
        )
        torch.testing.assert_close(found.scores[image, rows], torch.tensor(expected))
        assert found.valid[image, rows].tolist() == [score >= 0.05 for score in expected]
    assert not (found.valid & ~given.valid).any()


def fusion_by_loop(
    boxes: list[list[float]], scores: list[float], labels: list[int], models: int
) -> list[tuple]:
    """Solovyev et al. 2019, sec. 3: (label, score, box) of each cluster."""
    clusters: list[list[int]] = []

    def mean(members: list[int]) -> list[float]:
        total = sum(scores[n] for n in members)
        return [sum(scores[n] * boxes[n][side] for n in members) / total for side in range(4)]

    for row in range(len(boxes)):
        own = [c for c in clusters if labels[c[0]] == labels[row]]
        iou = [box_iou(torch.tensor([mean(c)]), torch.tensor([boxes[row]])).item() for c in own]
        if own and max(iou) > 0.55:
            own[iou.index(max(iou))].append(row)
        else:
            clusters.append([row])
    return [
        (
            labels[c[0]],
            sum(scores[n] for n in c) / len(c) * min(len(c), models) / models,
            *mean(c),
        )
        for c in clusters
    ]


@pytest.mark.parametrize("models", [1, 3])
def test_fusion_is_its_algorithm(models: int) -> None:
    given = ranked()
    found = Fusion(0.55, models)(given)
    for image in range(2):
        rows, kept = given.valid[image], found.valid[image]
        expected = fusion_by_loop(
            given.boxes[image, rows].tolist(),
            given.scores[image, rows].tolist(),
            given.labels[image, rows].tolist(),
            models,
        )
        columns = [found.labels[image, kept][:, None], found.scores[image, kept][:, None]]
        table = torch.cat([*columns, found.boxes[image, kept]], dim=1)
        torch.testing.assert_close(table, torch.tensor(expected), rtol=1e-4, atol=1e-4)
        assert len(expected) < rows.sum()


PARTS = {
    "soft": Soft(DECAYS["gaussian"], 0.001),
    "soft linear": Soft(DECAYS["linear"], 0.001),
    "matrix": Matrix(DECAYS["gaussian"], 0.001),
    "fusion": Fusion(0.55),
}
parts = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())


@parts
def test_nothing_valid_gives_nothing(part) -> None:
    found = part(ranked(empty=True))
    assert not found.valid.any()


@parts
def test_two_images_equal_each_alone(part) -> None:
    given = ranked()
    together = part(given)
    for image in range(2):
        rows = slice(image, image + 1)
        own = Ranked(*(field[rows] for field in given[:5]), given.priors)
        for ours, theirs in zip(part(own)[:4], together[:4], strict=True):
            torch.testing.assert_close(ours, theirs[rows])


@pytest.mark.parametrize("kind", ["soft", "matrix", "fusion"])
def test_is_one_graph_and_detections_fall(kind: str) -> None:
    priors = points([8, 16])
    count = priors.boxes.shape[1]
    given = Candidates(random_boxes(2, count), torch.rand(2, count, 3), priors)
    frames = torch.tensor([[0.0, 0, 64, 64]]).repeat(2, 1)
    # Soft has a node for each rank.
    whole = Suppression(PARTS[kind], 0.3, per_level=3, detections=4)
    found = whole(given, frames)
    assert (found.scores.diff(dim=1) <= 0).all()
    compiled = torch.compile(whole, fullgraph=True, backend="eager")(given, frames)
    for ours, theirs in zip(compiled, found, strict=True):
        torch.testing.assert_close(ours, theirs)


def voted_by_loop(given: Ranked, image: int, row: int, sigma: float, overlap: float) -> list[float]:
    """Kim and Lee 2020, "Score Voting", of one box that was left."""
    sums, total = [0.0] * 4, 0.0
    iou = box_iou(given.boxes[image, row][None], given.boxes[image])[0].tolist()
    for other in range(COUNT):
        same = given.labels[image, other] == given.labels[image, row]
        if given.valid[image, other] and same and iou[other] > overlap:
            weight = math.exp(-((1 - iou[other]) ** 2) / sigma)
            weight *= given.scores[image, other].item()
            box = given.boxes[image, other].tolist()
            sums = [s + weight * side for s, side in zip(sums, box, strict=True)]
            total += weight
    return [s / total for s in sums]


@pytest.mark.parametrize(("sigma", "overlap"), [(0.025, 0.01), (0.5, 0.4)])
@pytest.mark.parametrize("most", [100, 3])
def test_voting_is_its_algorithm(sigma: float, overlap: float, most: int) -> None:
    """Candidates that were suppressed vote too; boxes beyond the best `most` stay."""
    given = ranked()
    left = Greedy(0.4)(given)
    found = ScoreVoting(Greedy(0.4), sigma, overlap, most)(given)
    assert torch.equal(found.valid, left.valid)
    assert torch.equal(found.scores, given.scores)
    for image in range(2):
        rows = left.valid[image].nonzero().flatten().tolist()
        assert 3 < len(rows) < given.valid[image].sum()
        for row in rows[:most]:
            expected = torch.tensor(voted_by_loop(given, image, row, sigma, overlap))
            torch.testing.assert_close(found.boxes[image, row], expected)
        assert torch.equal(found.boxes[image, rows[most:]], given.boxes[image, rows[most:]])
    assert torch.equal(found.boxes[~left.valid], given.boxes[~left.valid])


def test_voting_alone_changes_nothing() -> None:
    """Without candidates, and of a box that nothing overlaps, not even itself: it has no area."""
    nothing = ranked(empty=True)
    found = ScoreVoting(Greedy(0.6))(nothing)
    assert torch.equal(found.boxes, nothing.boxes)
    assert not found.valid.any()
    given = ranked()
    flat = given._replace(boxes=given.boxes[..., [0, 1, 0, 3]])
    assert torch.equal(ScoreVoting(Greedy(0.6))(flat).boxes, flat.boxes)


def test_voting_by_hand() -> None:
    """Two boxes of IoU 1/3 and scores .8 and .4: the second one weighs exp(-(2/3)^2 / .025) / 2."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [5, 0, 15, 10]]])
    priors = Priors(boxes, torch.ones(2), (2,), (64, 64))
    labels, scores = torch.zeros(1, 2, dtype=torch.int64), torch.tensor([[0.8, 0.4]])
    given = Ranked(boxes, scores, labels, scores > 0, torch.arange(2)[None], priors)
    share = math.exp(-4 / 9 / 0.5) / 2
    left = 5 * share / (1 + share)
    found = ScoreVoting(Greedy(0.2), sigma=0.5)(given)
    torch.testing.assert_close(found.boxes[0, 0], torch.tensor([left, 0, 10 + left, 10]))
    assert found.valid.tolist() == [[True, False]]
