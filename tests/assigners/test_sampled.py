"""Sampling takes the right numbers in the right shares, and any prior equally often."""

import pytest
import torch

from detectors.assigners.max_iou import MaxIoU
from detectors.assigners.sampled import Sampled, Sampler
from detectors.structures import Assignment, Pairs
from tests.examples import points, predictions, targets


def assignment(positive: int, ignored: int, background: int, batch: int = 1) -> Assignment:
    """Rows in a random order; row n is matched to object n."""
    state = torch.tensor([0] * positive + [1] * ignored + [2] * background)
    state = torch.stack([state[torch.randperm(len(state))] for _ in range(batch)])
    return Assignment(torch.arange(state.shape[1]).expand_as(state), state == 0, state == 1)


def counts(found: Assignment) -> tuple[int, int]:
    """Positives and negatives of the first image."""
    return int(found.positive[0].sum()), int((~found.positive & ~found.ignored)[0].sum())


@pytest.mark.parametrize(
    ("available", "drawn"),
    [
        ((200, 50, 900), (64, 192)),  # plenty of both
        ((10, 50, 900), (10, 246)),  # few positives: filled up with background
        ((0, 0, 900), (0, 256)),  # none
        ((200, 0, 100), (64, 100)),  # few negatives: not filled up with positives
        ((3, 0, 5), (3, 5)),  # few of both
        ((0, 9, 0), (0, 0)),  # nothing to draw
    ],
)
def test_counts_and_shares(available: tuple, drawn: tuple) -> None:
    found = Sampler(256, positive_fraction=0.25)(assignment(*available))
    assert counts(found) == drawn


def test_draws_keep_what_they_were() -> None:
    given = assignment(50, 50, 300, batch=3)
    found = Sampler(64, positive_fraction=0.5)(given)
    negative = ~found.positive & ~found.ignored
    assert not (found.positive & ~given.positive).any()
    assert not (negative & (given.positive | given.ignored)).any()
    assert torch.equal(found.matched[found.positive], given.matched[found.positive])
    assert (found.matched[~found.positive] == 0).all()


def test_every_row_is_alike_likely() -> None:
    """4 of 8 positives and 4 of 16 negatives in 4,000 draws: 2,000 +- 32 and 1,000 +- 27 each."""
    given = assignment(8, 0, 16)
    many = Assignment(*(field.expand(4000, -1) for field in given[:3]))
    found = Sampler(8, positive_fraction=0.5)(many)
    positive, negative = found.positive.sum(0), (~found.ignored & ~found.positive).sum(0)
    assert ((positive[given.positive[0]] - 2000).abs() < 5 * 32).all()
    assert ((negative[~given.positive[0]] - 1000).abs() < 5 * 27).all()


def test_a_seed_fixes_the_draw() -> None:
    given, sampler = assignment(50, 0, 300), Sampler(64, positive_fraction=0.5)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(sampler(given).ignored)
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_sampled_thins_out_another_assigner() -> None:
    priors = points([4])
    raw, objects = predictions(priors, 1, 1), targets([(0, 0, 0, 16, 16)])
    whole = MaxIoU(0.05, 0.05, forced=False)
    found = Sampled(whole, Sampler(20, positive_fraction=0.5))(raw, priors.boxes, objects)
    assert whole(raw, priors.boxes, objects).positive.sum() == 16
    assert counts(found) == (10, 10)


def test_what_is_not_drawn_keeps_its_classes_and_loses_its_pairs() -> None:
    given, scores = assignment(4, 0, 6), torch.rand(1, 10, 3)
    rows = torch.arange(10)[None]
    pairs = Pairs(rows, given.matched, torch.rand(1, 10, 4), given.positive.float())
    given = given._replace(scores=scores, pairs=pairs)
    found = Sampler(4, positive_fraction=0.5)(given)
    assert found.scores is scores
    assert found.pairs is not None
    assert torch.equal(found.pairs.weight, found.positive.float())
    assert found.pairs.weight.sum() == 2
