import pytest
import torch
from torch import Tensor

from detectors.ops import suppression
from detectors.ops.boxes import aligned_iou
from detectors.ops.suppression import fixed_point, too_near
from detectors.postprocess import DIoU, Ranked
from detectors.structures import Priors


def _ranked(boxes: Tensor, labels: Tensor, valid: Tensor) -> Ranked:
    images, count = labels.shape
    scores = torch.linspace(1, 0, count).expand(images, count)
    priors = Priors(boxes[:1], torch.ones(count), (count,), (100, 100))
    return Ranked(boxes, scores, labels, valid, torch.arange(count).expand(images, -1), priors)


def _greedy(boxes: Tensor, labels: Tensor, valid: Tensor, threshold: float, beta: float) -> Tensor:
    """darknet `diounms_sort`, pair by pair."""
    keep = valid.clone()
    for i in range(len(boxes)):
        for j in range(i + 1, len(boxes)):
            if keep[i] and labels[i] == labels[j]:
                (ax, ay, bx, by), (cx, cy, dx, dy) = boxes[i].tolist(), boxes[j].tolist()
                diagonal = (max(bx, dx) - min(ax, cx)) ** 2 + (max(by, dy) - min(ay, cy)) ** 2
                apart = ((ax + bx - cx - dx) ** 2 + (ay + by - cy - dy) ** 2) / 4
                value = aligned_iou(boxes[i], boxes[j]).item() - (apart / diagonal) ** beta
                keep[j] &= value <= threshold
    return keep


@pytest.mark.parametrize(("threshold", "beta"), [(0.6, 0.6), (0.45, 0.6), (0.5, 1.0)])
def test_equals_the_loop(threshold: float, beta: float) -> None:
    corner = torch.rand(2, 60, 2) * 20
    boxes = torch.cat([corner, corner + 5 + 15 * torch.rand(2, 60, 2)], dim=-1)
    labels, valid = torch.randint(2, (2, 60)), torch.rand(2, 60) < 0.9
    found = DIoU(threshold, beta)(_ranked(boxes, labels, valid)).valid
    for image in range(2):
        expected = _greedy(boxes[image], labels[image], valid[image], threshold, beta)
        assert torch.equal(found[image], expected)
    assert not torch.equal(found, valid)
    same = (labels[:, :, None] == labels[:, None]) & torch.ones(60, 60).triu(1).bool()
    near = torch.stack([too_near(image, threshold, beta) for image in boxes])
    assert torch.equal(fixed_point(near & same, valid), found)  # what a GPU does


def test_blocks_settle_what_one_relation_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks of a group, where boxes of a later one go because of an earlier one's."""
    monkeypatch.setattr(suppression, "BLOCK", 32)
    draw = torch.Generator().manual_seed(0)
    corner = torch.rand(2, 700, 2, generator=draw) * 60
    sides = 5 + 15 * torch.rand(2, 700, 2, generator=draw)
    boxes, labels = torch.cat([corner, corner + sides], dim=-1), torch.arange(700).expand(2, -1) % 2
    valid = torch.rand(2, 700, generator=draw) < 0.95
    found = DIoU(0.3, 0.6)(_ranked(boxes, labels, valid)).valid
    same = (labels[:, :, None] == labels[:, None]) & torch.ones(700, 700).triu(1).bool()
    near = torch.stack([too_near(image, 0.3, 0.6) for image in boxes])
    assert torch.equal(fixed_point(near & same, valid), found)
    assert 2 * 32 < found[0].sum() < 500


def test_a_box_far_from_the_winners_centre_stays() -> None:
    # IoU 0.5 both times: inside the winner around its centre, and inside on one side of it
    boxes = torch.tensor([[[0.0, 0, 20, 20], [0, 5, 20, 15], [0, 0, 20, 10]]])
    labels, valid = torch.zeros(1, 3, dtype=torch.int64), torch.ones(1, 3, dtype=torch.bool)
    # the distance is 5, the diagonal 28.3: 0.5 - 0.03125
    assert DIoU(0.49, beta=1.0)(_ranked(boxes, labels, valid)).valid.tolist() == [
        [True, False, True]
    ]
