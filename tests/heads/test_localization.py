"""IoU-Net's rules against loops: boxes around objects, suppression by IoU, refinement."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import detectors
from detectors.detector import Detector
from detectors.heads.localization import Jitter, Refinement
from detectors.ops.boxes import aligned_iou
from detectors.postprocess import Greedy, IoUGuided, Ranked
from detectors.structures import Detections, Priors
from tests.examples import random_boxes, random_targets, targets

COUNT = 20


def test_boxes_around_objects_have_the_iou_that_was_drawn() -> None:
    given, jitter = random_targets(2, 6, 3), Jitter(count=50)
    torch.manual_seed(4)
    found = jitter(given)
    torch.manual_seed(4)
    _, wanted = jitter.draw(given)
    assert found.boxes.shape == (2, 300, 4)
    for image in range(2):
        for row in range(300):
            own = row // 50
            iou = aligned_iou(found.boxes[image, row], given.boxes[image, own]).item()
            assert iou == pytest.approx(wanted[image, own, row % 50].item(), abs=1e-3)
            assert iou == pytest.approx(found.iou[image, row].item(), abs=1e-5)
            assert found.labels[image, row] == given.labels[image, own]
            real = bool(given.valid[image, own] and not given.ignore[image, own])
            assert bool(found.valid[image, row]) == real
    assert found.iou.min() > 0.499
    assert 0.7 < found.iou.mean() < 0.8, "uniform from 0.5 to 1"


def ranked(valid_share: float) -> Ranked:
    """Two images of crowded boxes of two classes, in the order of their scores; some IoUs tie."""
    boxes = random_boxes(2, COUNT, canvas=30.0, smallest=8.0)
    scores = torch.rand(2, COUNT).sort(1, descending=True).values
    iou = (torch.rand(2, COUNT) * 8).round() / 8
    priors = Priors(boxes[:1], torch.ones(COUNT), (COUNT,), (64, 64))
    index, labels = torch.arange(COUNT).expand(2, -1), torch.randint(2, (2, COUNT))
    valid = torch.rand(2, COUNT) < valid_share
    return Ranked(boxes, scores, labels, valid, index, priors, None, iou)


def guided(given: Ranked, image: int, threshold: float) -> dict[int, float]:
    """Jiang et al. 2018, Alg. 1: rows that stay, with their scores."""
    assert given.iou is not None
    left, kept = given.valid[image].nonzero().flatten().tolist(), {}
    while left:
        best = max(left, key=lambda row: (given.iou[image, row].item(), -row))
        left.remove(best)
        score = given.scores[image, best].item()
        for other in list(left):
            same = given.labels[image, other] == given.labels[image, best]
            iou = aligned_iou(given.boxes[image, best], given.boxes[image, other])
            if same and iou > threshold:
                score = max(score, given.scores[image, other].item())
                left.remove(other)
        kept[best] = score
    return kept


@pytest.mark.parametrize("share", [0.9, 0.1, 0.0])
@pytest.mark.parametrize("threshold", [0.0, 0.3])
def test_suppression_by_iou_is_its_algorithm(share: float, threshold: float) -> None:
    given = ranked(share)
    found = IoUGuided(threshold)(given)
    assert torch.equal(found.boxes, given.boxes)
    for image in range(2):
        expected = guided(given, image, threshold)
        assert found.valid[image].nonzero().flatten().tolist() == sorted(expected)
        for row, score in expected.items():
            assert found.scores[image, row].item() == score


def test_the_order_of_scores_gives_plain_suppression() -> None:
    given = ranked(0.9)
    given = given._replace(iou=given.scores)
    assert torch.equal(IoUGuided(0.4)(given).valid, Greedy(0.4)(given).valid)


def test_suppression_without_iou_is_refused() -> None:
    with pytest.raises(ValueError, match="IoU that is predicted of them, but none is"):
        IoUGuided(0.5)(ranked(0.9)._replace(iou=None))


def hill(goal: Tensor, sharpness: float) -> Callable[[Tensor], Tensor]:
    """A smooth stand-in for an IoU, one at the goal."""
    return lambda boxes: (-sharpness * (boxes - goal).square().sum(-1)).exp()


def climbed(judge: Callable[[Tensor], Tensor], box: Tensor, part: Refinement) -> Tensor:
    """Jiang et al. 2018, Alg. 2, for one box."""
    for _ in range(part.steps):
        given = box.clone().requires_grad_()
        before = judge(given)
        (slope,) = torch.autograd.grad(before, given)
        width, height = box[2] - box[0], box[3] - box[1]
        moved = box + part.rate * slope * torch.stack([width, height, width, height])
        if moved[2] <= moved[0] or moved[3] <= moved[1]:
            break
        box = moved
        after = judge(box)
        if abs(after - before) < part.gain or after - before < -part.loss:
            break
    return box


@pytest.mark.parametrize("sharpness", [1e-3, 3e-2, 1.0, 10.0])
def test_refinement_is_its_algorithm_box_by_box(sharpness: float) -> None:
    """Boxes that climb, that stand still, that overshoot and that would turn inside out."""
    part, boxes = Refinement(), random_boxes(2, 6, canvas=20.0, smallest=3.0)
    goals = boxes + torch.randn(2, 6, 4)
    found = part(hill(goals, sharpness), boxes)
    for image in range(2):
        for row in range(6):
            expected = climbed(hill(goals[image, row], sharpness), boxes[image, row], part)
            torch.testing.assert_close(found[image, row], expected)
    assert (found[..., 2:] > found[..., :2]).all()


WORDS = [
    "size=small",
    "part.neck.channels=16",
    "+part.head.region_head.width=16",
    "+part.localization.branch.width=16",
    "part.postprocess.score_threshold=0.0",
    *(f"part.head.{when}_proposals.{key}=60" for when in ("train", "test")
      for key in ("per_level", "detections")),
]  # fmt: skip


@pytest.fixture(scope="module")
def detector() -> Detector:
    built = detectors.build("iou_net", WORDS, num_classes=3)
    torch.nn.init.normal_(built.head.branch.iou.weight, std=2.0)
    return built.eval()


FRAMES = torch.tensor([[0.0, 0, 128, 96], [0.0, 0, 100, 96]])


def test_the_branch_learns_the_iou_of_the_boxes_of_its_class(detector: Detector) -> None:
    head, images = detector.head, torch.rand(2, 3, 96, 128) * 255
    objects = targets([(1, 8, 8, 40, 60), (2, 30, 20, 90, 90)], [(0, 5, 5, 50, 50, "ignore")])
    output = head(detector.features(images), FRAMES, objects)
    found = head.loss(output, objects)["localization"]
    pooled = head.pooler(output.features, output.jittered.boxes)
    costs = []
    for row in range(32):  # sixteen of each object of the first image; the second has none
        label = output.jittered.labels[0, row]
        raw = head.branch.iou(head.branch.hidden(pooled[0, row].flatten()))[label]
        error = (raw - (2 * output.jittered.iou[0, row] - 1)).abs()
        costs.append(error**2 / 2 if error < 1 else error - 0.5)
    assert output.jittered.valid.sum() == 32
    torch.testing.assert_close(found, torch.stack(costs).mean(), rtol=1e-4, atol=1e-5)


def test_a_trick_that_adds_a_loss_adds_it_to_the_head_inside() -> None:
    head = detectors.build("iou_net", [*WORDS, "trick=[closing_l1]"], num_classes=3).head
    assert list(head.head.criterion.losses) == ["class", "box", "l1"]


def test_the_branch_costs_nothing_without_objects(detector: Detector) -> None:
    losses = detector.loss(torch.rand(1, 3, 96, 128) * 255, targets([]))
    assert losses["localization"] == 0


def test_candidates_are_the_best_pairs_each_with_its_iou(detector: Detector) -> None:
    head, images = detector.head, torch.rand(2, 3, 96, 128) * 255
    with torch.no_grad():
        output = head(detector.features(images), FRAMES)
        found, every = head.detect(output), head.head.detect(output.head)
        pooled = head.pooler(output.features, found.boxes)
        raw = head.branch(pooled)
    for image in range(2):
        best = every.scores[image].flatten().sort(descending=True).values[: found.boxes.shape[1]]
        torch.testing.assert_close(found.scores[image].amax(-1), best)
        assert ((found.scores[image] > 0).sum(-1) <= 1).all()
        labels = found.scores[image].argmax(-1)
        expected = (raw[image].gather(1, labels[:, None])[:, 0] + 1) / 2
        real = best > 0
        torch.testing.assert_close(found.iou[image][real], expected[real])


def test_detections_climb_whatever_mode_asks(detector: Detector) -> None:
    images = torch.rand(2, 3, 96, 128) * 255
    with torch.no_grad():
        found = detector(images, FRAMES)
        output = detector.head(detector.features(images), FRAMES)
        plain: Detections = detector.postprocess(detector.head.detect(output), FRAMES)
    with torch.inference_mode():
        again = detector(images, FRAMES)
    torch.testing.assert_close(again.boxes, found.boxes)
    assert torch.equal(found.scores, plain.scores)
    assert not torch.allclose(found.boxes[found.valid], plain.boxes[plain.valid])
    assert (found.boxes <= FRAMES[:, None, 2:].repeat(1, 1, 2)).all()
    assert all(parameter.grad is None for parameter in detector.head.branch.parameters())
