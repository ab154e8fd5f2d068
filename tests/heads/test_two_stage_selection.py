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


class Untold(Mining):
    """Another mining, which does not tell how many it keeps."""

    def __init__(self, mining: Mining) -> None:
        super().__init__()
        self.mining = mining

    def forward(self, costs: Tensor, matched: Matched) -> Tensor:
        return self.mining(costs, matched)


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


@pytest.mark.parametrize("objects", [[(1, 8, 8, 40, 60), (0, 50, 30, 90, 90)], []])
def test_the_hardest_train_in_a_pass_of_their_own(objects: list[tuple]) -> None:
    """The same losses and gradients as of one pass over all regions whose rest is masked."""
    words = [*WORDS, "+part.head.region_head.width=16", "trick=[ohem]", "part.mining.count=12"]
    detector = detectors.build("faster_rcnn", words)
    head, given = detector.head, targets(objects, [(2, 20, 20, 100, 70)], rows=8)
    features = [level.detach() for level in detector.features(torch.rand(2, 3, 128, 128) * 255)]
    found = []
    for mining in (head.criterion.mining, Untold(head.criterion.mining)):
        head.criterion.mining = mining
        head.zero_grad()
        torch.manual_seed(7)  # of the proposals' sampler
        output = head(features, _frames(), given)
        losses = head.loss(output, given)
        torch.stack(list(losses.values())).sum().backward()
        gradients = [parameter.grad.clone() for parameter in head.region_head.parameters()]
        found.append((output.looks[0].regions, losses, gradients))
    (hard, losses, gradients), (every, masked, of_masked) = found
    assert hard.boxes.shape[1] == 12
    assert every.boxes.shape[1] > 100
    torch.testing.assert_close(losses, masked)
    torch.testing.assert_close(gradients, of_masked)


def _frames() -> Tensor:
    return torch.tensor([0.0, 0, 128, 128]).expand(2, 4)
