"""SSD's matching against the released rule written as loops."""

from functools import partial

import pytest
import torch
from torch import Tensor

from detectors.assigners.multibox import BestPrior, Bipartite
from detectors.assigners.ties import first
from detectors.ops.boxes import aligned_iou
from detectors.structures import Assignment, Predictions, Priors, Targets

CANVAS = 64.0


def _boxes(*shape: int) -> Tensor:
    center, side = torch.rand(*shape, 2) * CANVAS, 2 + torch.rand(*shape, 2) * 30
    return torch.cat([center - side / 2, center + side / 2], dim=-1)


def _predictions(boxes: Tensor) -> Predictions:
    count = len(boxes)
    priors = Priors(boxes[None], torch.ones(count), (count,), (64, 64))
    return Predictions(torch.zeros(1, count, 2), torch.zeros(1, count, 4), None, priors)


def _targets(boxes: Tensor, valid: Tensor, ignore: Tensor) -> Targets:
    return Targets(boxes, torch.zeros(boxes.shape[:2], dtype=torch.int64), valid, ignore)


def _plain(boxes: list[list[float]]) -> Targets:
    """One image, nothing ignored, one padded row that covers the canvas."""
    rows = [*boxes, [0.0, 0.0, CANVAS, CANVAS]]
    valid = torch.tensor([[True] * len(boxes) + [False]])
    return _targets(torch.tensor([rows]), valid, torch.zeros_like(valid))


def _assigned(assigner, priors: Tensor, targets: Targets) -> Assignment:
    predictions = _predictions(priors)
    return assigner(predictions, predictions.priors.boxes, targets)


def _bipartite(ious: list[list[float]], threshold: float) -> dict[int, int]:
    """Object of each prior by `bbox_util.cpp`, MatchBBox; `ious` is [object][prior]."""
    count = len(ious[0]) if ious else 0
    match: dict[int, int] = {}
    pool = list(range(len(ious)))
    while pool:
        best, pair = -1.0, None
        for prior in range(count):
            for row in pool:
                if prior not in match and ious[row][prior] > max(best, 1e-6):
                    best, pair = ious[row][prior], (prior, row)
        if pair is None:
            break
        match[pair[0]] = pair[1]
        pool.remove(pair[1])
    for prior in range(count):
        if prior not in match:
            best, found = -1.0, None
            for row in range(len(ious)):
                if ious[row][prior] >= threshold and ious[row][prior] > best:
                    best, found = ious[row][prior], row
            if found is not None:
                match[prior] = found
    return match


def _best_prior(ious: list[list[float]], threshold: float) -> dict[int, int]:
    """Object of each prior by torchvision's SSDMatcher."""
    match: dict[int, int] = {}
    for prior in range(len(ious[0]) if ious else 0):
        column = [row[prior] for row in ious]
        if max(column) >= threshold:
            match[prior] = column.index(max(column))
    for row, of_object in enumerate(ious):
        match[of_object.index(max(of_object))] = row
    return match


def _first_best_prior(ious: list[list[float]], threshold: float) -> dict[int, int]:
    """The same by `argmax_matcher.py` of EfficientDet's release: the first row forces a column."""
    match = _best_prior(ious, threshold)
    forced = [of_object.index(max(of_object)) for of_object in ious]
    return match | {prior: forced.index(prior) for prior in forced}


FirstBestPrior = partial(BestPrior, owner=first)


@pytest.mark.parametrize(
    ("kind", "naive"),
    [(Bipartite, _bipartite), (BestPrior, _best_prior), (FirstBestPrior, _first_best_prior)],
)
@pytest.mark.parametrize("seed", range(6))
def test_equals_the_rule_as_loops(kind, naive, seed: int) -> None:
    torch.manual_seed(seed)
    priors = _boxes(40)
    targets = _targets(_boxes(3, 6), torch.rand(3, 6) > 0.2, torch.rand(3, 6) < 0.2)
    targets.valid[2] = False
    targets.boxes[0, 3] = targets.boxes[0, 1]  # two objects that want the same prior
    found = _assigned(kind(0.5), priors, targets)
    assert not found.ignored.any()
    for image in range(3):
        rows = (targets.valid & ~targets.ignore)[image].nonzero()[:, 0].tolist()
        objects = targets.boxes[image, rows]
        ious = [[aligned_iou(box, prior).item() for prior in priors] for box in objects]
        expected = {prior: rows[row] for prior, row in naive(ious, 0.5).items()}
        positive = found.positive[image].nonzero()[:, 0].tolist()
        assert {prior: int(found.matched[image, prior]) for prior in positive} == expected
        assert (found.matched[image][~found.positive[image]] == 0).all()


def test_two_objects_with_one_best_prior() -> None:
    """Released: the second best prior serves one of them. torchvision: the earlier goes without."""
    priors = torch.tensor([[0.0, 0.0, 20.0, 20.0], [30.0, 0.0, 50.0, 20.0], [0.0, 8.0, 20.0, 28.0]])
    targets = _plain([[1.0, 1.0, 21.0, 21.0], [0.0, 0.0, 20.0, 19.0]])
    released = _assigned(Bipartite(0.9), priors, targets)
    assert released.positive[0].tolist() == [True, False, True]
    assert released.matched[0].tolist() == [1, 0, 0]
    torchvisions = _assigned(BestPrior(0.9), priors, targets)
    assert torchvisions.positive[0].tolist() == [True, False, False]
    assert torchvisions.matched[0, 0] == 1
    efficientdets = _assigned(FirstBestPrior(0.9), priors, targets)
    assert efficientdets.positive[0].tolist() == [True, False, False]
    assert efficientdets.matched[0, 0] == 0


@pytest.mark.parametrize("kind", [BestPrior, FirstBestPrior])
def test_an_object_that_overlaps_nothing_takes_the_first_prior(kind) -> None:
    priors = torch.tensor([[0.0, 0.0, 20.0, 20.0], [30.0, 0.0, 50.0, 20.0]])
    found = _assigned(kind(0.5), priors, _plain([[30.0, 40.0, 50.0, 60.0]]))
    assert found.positive[0].tolist() == [True, False]


def test_an_overlap_at_the_threshold_is_positive() -> None:
    priors = torch.tensor([[0.0, 0.0, 20.0, 20.0], [0.0, 0.0, 20.0, 10.0], [0.0, 0.0, 20.0, 9.0]])
    targets = _plain([[0.0, 0.0, 20.0, 20.0]])
    for kind in (Bipartite, BestPrior):
        assert _assigned(kind(0.5), priors, targets).positive[0].tolist() == [True, True, False]


def test_without_objects_all_is_background() -> None:
    targets = _targets(_boxes(2, 4), torch.zeros(2, 4) > 0, torch.zeros(2, 4) > 0)
    for kind in (Bipartite, BestPrior):
        found = _assigned(kind(0.5), _boxes(9), targets)
        assert not found.positive.any()
        assert not found.ignored.any()
