"""Boxes vote on each other's sides, against the rule written as loops."""

import math
from functools import partial

import pytest
import torch
from torch import Tensor

import detectors
from detectors.ops.suppression import gaussian
from detectors.postprocess import Greedy, Ranked, Soft, Suppression, Suppressor, VarianceVoting
from detectors.structures import Candidates, Priors
from tests.examples import random_boxes

COUNT, SIGMA = 24, 0.02
INNER: dict[str, Suppressor] = {
    "greedy": Greedy(0.5),
    "soft": Soft(partial(gaussian, sigma=0.5), 0.001),
}


def ranked(valid_share: float = 0.9) -> Ranked:
    """Two images of crowded boxes of two classes; one box stands there twice."""
    boxes = random_boxes(2, COUNT, canvas=30.0, smallest=4.0)
    boxes[:, 7] = boxes[:, 3]
    scores = torch.rand(2, COUNT).sort(1, descending=True).values
    valid = torch.rand(2, COUNT) < valid_share
    priors = Priors(boxes[:1], torch.ones(COUNT), (COUNT,), (64, 64))
    index, labels = torch.arange(COUNT).expand(2, -1), torch.randint(2, (2, COUNT))
    return Ranked(boxes, scores, labels, valid, index, priors, 0.1 + torch.rand(2, COUNT, 4))


def iou(a: list[float], b: list[float]) -> float:
    width, height = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    common = max(width, 0.0) * max(height, 0.0)
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    return common / (sum(areas) - common)


def by_loop(given: Ranked, image: int, row: int) -> list[float]:
    """He et al. 2019, sec. 3.3, side by side."""
    assert given.deviations is not None
    boxes = given.boxes[image].tolist()
    found = []
    for side in range(4):
        above, below = 0.0, 0.0
        for other in given.valid[image].nonzero().flatten().tolist():
            overlap = iou(boxes[row], boxes[other])
            if overlap == 0 or given.labels[image, other] != given.labels[image, row]:
                continue
            variance = given.deviations[image, other, side].item() ** 2
            weight = math.exp(-((1 - overlap) ** 2) / SIGMA) / variance
            above, below = above + weight * boxes[other][side], below + weight
        found.append(above / below)
    return found


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("share", [0.9, 0.1, 0.0])
def test_sides_are_weighted_means_of_those_that_overlap(inner: str, share: float) -> None:
    given, suppressor = ranked(share), INNER[inner]
    found, left = VarianceVoting(suppressor, SIGMA)(given), suppressor(given)
    assert torch.equal(found.valid, left.valid)
    assert torch.equal(found.scores, left.scores)
    for image, row in left.valid.nonzero().tolist():
        expected = torch.tensor(by_loop(given, image, row))
        torch.testing.assert_close(found.boxes[image, row], expected, rtol=1e-4, atol=1e-3)


def test_one_box_alone_stays() -> None:
    given = ranked()
    alone = given._replace(valid=torch.arange(COUNT).expand(2, -1) == 5)
    found = VarianceVoting(Greedy(0.5), SIGMA)(alone)
    torch.testing.assert_close(found.boxes[:, 5], given.boxes[:, 5])


def test_the_surer_side_wins_by_hand() -> None:
    """Two boxes of IoU 0.9, the second ten times as sure on the right; one of another class."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0, 0, 9, 10], [0, 0, 8, 10]]])
    deviations = torch.ones(1, 3, 4)
    deviations[0, 1, 2] = 0.1
    priors = Priors(boxes, torch.ones(3), (3,), (16, 16))
    labels, scores = torch.tensor([[0, 0, 1]]), torch.tensor([[0.9, 0.8, 0.7]])
    valid = torch.ones(1, 3, dtype=torch.bool)
    given = Ranked(boxes, scores, labels, valid, torch.arange(3)[None], priors, deviations)
    found = VarianceVoting(Greedy(0.5), SIGMA)(given)
    near = math.exp(-0.01 / SIGMA)
    right = (10 + 100 * near * 9) / (1 + 100 * near)
    torch.testing.assert_close(found.boxes[0, 0], torch.tensor([0.0, 0, right, 10]))
    assert found.valid[0].tolist() == [True, False, True]


def test_without_deviations_it_is_refused() -> None:
    with pytest.raises(ValueError, match="no deviations are predicted: choose model="):
        VarianceVoting(Greedy(0.5), SIGMA)(ranked()._replace(deviations=None))


@pytest.mark.parametrize("by_class", [True, False])
def test_deviations_follow_their_boxes_through_the_ranking(by_class: bool) -> None:
    shape = (2, 30, 3, 4) if by_class else (2, 30, 4)
    boxes = random_boxes(*shape[:-1]).clamp(0, 64)
    priors = Priors(boxes.flatten(2)[..., :4], torch.ones(30), (30,), (64, 64))
    given = Candidates(boxes, torch.rand(2, 30, 3), priors, boxes + 1)
    frames = torch.tensor([[0.0, 0, 64, 64]]).repeat(2, 1)
    found = Suppression(Greedy(0.5), 0.0, 20, 10).rank(given, frames)
    assert found.deviations is not None
    assert torch.equal(found.deviations, found.boxes + 1)


def test_a_family_detects_by_votes_and_its_deviations_begin_at_one() -> None:
    words = ["size=small", "part.neck.channels=16", "+part.head.region_head.width=16"]
    detector = detectors.build("faster_rcnn_kl", words, num_classes=3).eval()
    images, frames = torch.rand(2, 3, 96, 128) * 255, torch.tensor([[0.0, 0, 128, 96]] * 2)
    detector.postprocess.score_threshold = 0.0
    with torch.no_grad():
        candidates: Candidates = detector.candidates(images, frames)
        found = detector.postprocess(candidates, frames)
    assert candidates.deviations is not None
    assert candidates.deviations.shape == candidates.boxes.shape
    torch.testing.assert_close(
        candidates.deviations, torch.ones_like(candidates.deviations), rtol=0, atol=0.01
    )
    assert found.valid.any()
    rest: Tensor = detector.head.region_head.predictor.deltas.bias.view(4, 8)[:, 4:]
    assert (rest == 0).all()
