"""With hard examples the second stage sees all proposals and trains on those that it selects."""

import pytest
import torch
from torch import Tensor

import detectors
from detectors.losses import Mining
from detectors.structures import Matched
from tests.examples import targets

WORDS = ["size=small", "part.neck.channels=16"]


class Keep(Mining):
    """Notes what it is shown, keeps every third."""

    def forward(self, costs: Tensor, matched: Matched) -> Tensor:
        self.shown, self.counted = costs.shape, matched.counted
        return (torch.arange(costs.shape[1]) % 3 == 0).float().expand_as(costs)


@pytest.mark.parametrize("trick", ["ohem", "hard_negatives"])
def test_all_proposals_are_shown_and_unreal_ones_never_count(trick: str) -> None:
    detector = detectors.build("faster_rcnn", [*WORDS, f"trick=[{trick}]"])
    head = detector.head
    keep = head.criterion.mining = Keep()
    objects = targets([(1, 8, 8, 40, 60)], [], rows=8)
    output = head(detector.features(torch.rand(2, 3, 128, 128) * 255), _frames(), objects)
    losses = head.loss(output, objects)
    proposed = keep.shown[1]
    assert proposed > 512, "more than the sampler would draw"
    assert torch.equal(keep.counted > 0, output.looks[0].regions.valid)
    assert all(term.isfinite() for term in losses.values())


def _frames() -> Tensor:
    return torch.tensor([0.0, 0, 128, 128]).expand(2, 4)
