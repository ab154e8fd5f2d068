"""Scores of logits and quality, by hand and as values."""

import pickle
from copy import deepcopy

import pytest
import torch

from detectors.scores import (
    ClassAlone,
    ClassTimesQuality,
    GatedRoot,
    LinearClassTimesQuality,
    RootOfClassTimesQuality,
    Score,
    SoftmaxAlone,
    SoftmaxTimesQuality,
    SoftmaxWithoutBackground,
)

SCORES: dict[Score, list[float]] = {  # of the logits 0 and ln 3, and of the quality ln 4
    ClassAlone(): [0.5, 0.75],
    ClassTimesQuality(): [0.4, 0.6],
    RootOfClassTimesQuality(): [0.4**0.5, 0.6**0.5],
    GatedRoot(): [0.4**0.5, 0.6**0.5],
    SoftmaxWithoutBackground(): [0.75],
    SoftmaxAlone(): [0.25, 0.75],
    SoftmaxTimesQuality(): [0.2, 0.6],
    LinearClassTimesQuality(): [0.0, 1.0],
}


@pytest.mark.parametrize("score", SCORES, ids=lambda score: type(score).__name__)
def test_scores_by_hand(score: Score) -> None:
    logits, quality = torch.tensor([[[0.0, 3.0]]]).log1p(), torch.tensor([[4.0]]).log()
    logits[0, 0, 1] = torch.tensor(3.0).log()
    given = quality if score.needs_quality else None
    torch.testing.assert_close(score(logits, given)[0, 0], torch.tensor(SCORES[score]))


@pytest.mark.parametrize("score", SCORES, ids=lambda score: type(score).__name__)
def test_a_score_is_a_value(score: Score) -> None:
    assert score == type(score)() == deepcopy(score) == pickle.loads(pickle.dumps(score))
    assert [other for other in SCORES if other == score] == [score]


def test_a_gate_looks_at_the_class_alone() -> None:
    """Class scores below, at and above one half, beside a high quality and a low one."""
    logits = torch.tensor([[[-0.1, 0.0, 0.1]]]).expand(1, 2, 3)
    quality = torch.tensor([[5.0, -5.0]])
    found = GatedRoot(least=0.5)(logits, quality)
    assert (found[..., :2] == 0).all()
    assert torch.equal(found[..., 2], RootOfClassTimesQuality()(logits, quality)[..., 2])
