"""Draws balanced random samples of an assignment; what is not drawn is ignored."""

from torch import Tensor, nn

from detectors.assigners import Assigner
from detectors.assigners.ties import pairs_of
from detectors.contracts import check_contract
from detectors.ops.selection import random_subset
from detectors.ranges import Count, Share
from detectors.structures import Assignment, Predictions, Targets


class Sampler(nn.Module):
    """Draws positives up to a share and fills up with background (Faster R-CNN, sec. 3.1.3).

    Args:
        count: priors drawn of each image.
        positive_fraction: largest share of positives among them.
    """

    def __init__(self, count: Count, positive_fraction: Share) -> None:
        super().__init__()
        self.count, self.most_positive = count, int(count * positive_fraction)

    def forward(self, assignment: Assignment) -> Assignment:
        """The assignment with all but at most `count` priors of each image ignored."""
        candidates = assignment.positive
        background = ~candidates & ~assignment.ignored
        num_positive = candidates.sum(1).clamp(max=self.most_positive)
        positive = random_subset(candidates, self.most_positive, num_positive)
        negative = random_subset(background, self.count, self.count - num_positive)
        return Assignment(
            assignment.matched * positive,
            positive,
            ~positive & ~negative,
            assignment.scores,
            pairs_of(positive, assignment.pairs),
        )


class Sampled(Assigner):
    """Another assigner, thinned out by a sampler."""

    def __init__(self, assigner: Assigner, sampler: Sampler) -> None:
        super().__init__()
        check_contract(assigner, Assigner)
        self.assigner, self.score, self.sampler = assigner, assigner.score, sampler
        self.own_classes = assigner.own_classes

    def forward(self, predictions: Predictions, boxes: Tensor, targets: Targets) -> Assignment:
        """Assignment of [B, N] priors."""
        return self.sampler(self.assigner(predictions, boxes, targets))
