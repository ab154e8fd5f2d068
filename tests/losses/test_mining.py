"""Hard negatives and hard examples against the rules written as loops."""

import math

import pytest
import torch
import torchvision
from torch import Tensor

from detectors.losses.mining import HardExamples, HardNegativeCrossEntropy, HardNegatives
from detectors.structures import Matched, Predictions, Priors
from tests.examples import random_boxes
from tests.losses.loss_examples import matched, value

IMAGES, PRIORS, CLASSES = 4, 30, 3


def _matched(logits: Tensor, positive: Tensor, counted: Tensor, labels: Tensor) -> Matched:
    boxes = torch.zeros(IMAGES, PRIORS, 4)
    priors = Priors(boxes[:1], torch.ones(PRIORS), (PRIORS,), (8, 8))
    scores = torch.nn.functional.one_hot(labels, CLASSES) * positive[..., None]
    return Matched(
        predictions=Predictions(logits, boxes, None, priors),
        boxes=boxes,
        target_boxes=boxes,
        target_deltas=boxes,
        target_scores=scores.float(),
        labels=labels,
        positive=positive.float(),
        counted=counted.float(),
    )


def _case() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Images with a few positives, one, none, and more than a quarter."""
    positive = torch.rand(IMAGES, PRIORS) < torch.tensor([0.1, 0.0, 0.0, 0.5])[:, None]
    positive[1, 7] = True
    counted = positive | (torch.rand(IMAGES, PRIORS) > 0.2)
    labels = torch.randint(CLASSES, (IMAGES, PRIORS))
    return torch.randn(IMAGES, PRIORS, 1 + CLASSES), positive, counted, labels


def _naive(logits: Tensor, positive: Tensor, counted: Tensor, labels: Tensor) -> Tensor:
    losses = []
    for image in range(IMAGES):
        negatives = []
        for prior in range(PRIORS):
            row = logits[image, prior]
            normal = row.exp().sum().log()
            if positive[image, prior]:
                losses.append(normal - row[1 + labels[image, prior]])
            elif counted[image, prior]:
                negatives.append(normal - row[0])
        negatives.sort(key=lambda loss: -loss.item())
        losses += negatives[: 3 * int(positive[image].sum())]
    return torch.stack(losses).sum()


def test_equals_the_rule_as_loops_with_its_gradient() -> None:
    logits, *rest = _case()
    ours, theirs = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss = value(HardNegativeCrossEntropy(3.0), _matched(ours, *rest))
    expected = _naive(theirs, *rest)
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=0)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-7)
    assert (ours.grad[2] == 0).all(), "an image without objects has no negatives"


def test_by_hand() -> None:
    """One positive, sure of its class by half; three negatives of four count, the worst ones."""
    logits = torch.zeros(IMAGES, PRIORS, 1 + CLASSES)
    logits[..., 0] = 100.0  # all are sure to be background
    logits[0, 0] = torch.tensor([0.0, 0.0, -100.0, -100.0])
    logits[0, 1:5] = torch.tensor([0.0, 0.0, 0.0, 0.0])
    logits[0, 1, 0] = 1.0  # less wrong than the three others
    positive = torch.zeros(IMAGES, PRIORS, dtype=torch.bool)
    positive[0, 0] = True
    counted, labels = torch.ones_like(positive), torch.zeros(IMAGES, PRIORS, dtype=torch.int64)
    loss = value(HardNegativeCrossEntropy(3.0), _matched(logits, positive, counted, labels))
    assert math.isclose(loss.item(), math.log(2) + 3 * math.log(4), rel_tol=1e-6)


def test_without_objects_nothing_is_lost() -> None:
    logits, positive, counted, labels = _case()
    logits.requires_grad_()
    nothing = torch.zeros_like(positive)
    loss = value(HardNegativeCrossEntropy(3.0), _matched(logits, nothing, counted, labels))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


def test_hard_negatives_are_those_of_the_loss_term() -> None:
    """Chosen by the same costs, the two count the same priors."""
    given = _matched(*_case())
    background = -given.predictions.logits.log_softmax(-1)[..., 0]
    kept = HardNegatives(3.0)(background, given)
    costs = HardNegativeCrossEntropy(3.0)(given)
    assert torch.equal(kept > 0, costs > 0)


def _greedy(
    costs: Tensor, counted: Tensor, boxes: Tensor, classes: list[int], count: int, overlap: float
) -> set[int]:
    """OHEM, sec. 4: again and again the costliest that no kept one of its class overlaps."""
    order = sorted(counted.nonzero().flatten().tolist(), key=lambda n: -costs[n].item())
    kept: list[int] = []
    for prior in order:
        rivals = [other for other in kept if classes[other] == classes[prior]]
        ious = [torchvision.ops.box_iou(boxes[[prior]], boxes[[other]]).item() for other in rivals]
        if all(iou <= overlap for iou in ious):
            kept.append(prior)
    return set(kept[:count])


@pytest.mark.parametrize("count", [3, 8, 100])
def test_hard_examples_are_those_of_the_algorithm(count: int) -> None:
    given = matched("+-i--+i---+-i-++", "-++--ii-----+---")
    boxes = random_boxes(1, 16, canvas=24.0)
    raw = given.predictions
    given = given._replace(predictions=raw._replace(priors=raw.priors._replace(boxes=boxes)))
    costs = torch.rand(2, 16) * given.counted
    kept = HardExamples(count, overlap=0.3, pool=100)(costs, given)
    for image in range(2):
        labels, positive = given.labels[image].tolist(), given.positive[image].tolist()
        classes = [1 + c if p else 0 for c, p in zip(labels, positive, strict=True)]
        expected = _greedy(costs[image], given.counted[image], boxes[0], classes, count, 0.3)
        assert set(kept[image].nonzero().flatten().tolist()) == expected


def test_a_pool_smaller_than_the_count_is_refused() -> None:
    with pytest.raises(ValueError, match="pool=5"):
        HardExamples(count=6, overlap=0.7, pool=5)
