"""Windows become detections."""

import numpy as np
import torch

from detectors.fitted.grouping import NeighbourGrouping
from detectors.structures import Candidates, Priors


def _candidates(boxes: torch.Tensor, scores: torch.Tensor) -> Candidates:
    count = boxes.shape[1]
    return Candidates(boxes, scores, Priors(boxes, torch.ones(count), (count,), (50, 60)))


def test_windows_of_a_class_are_merged_and_add_up() -> None:
    one, other = torch.tensor([[10.0, 10, 30, 30]]), torch.tensor([[30.0, 20, 62, 52]])
    boxes = torch.cat([one, one + 2, other, other, other, one, torch.zeros(1, 4)])
    scores = torch.zeros(7, 2)
    scores[[0, 1], 0] = torch.tensor([0.5, 0.7])
    scores[[2, 3, 4], 1] = 0.9
    scores[5, 1] = 0.9  # alone in its class
    images = torch.stack([boxes, boxes]), torch.stack([scores, torch.zeros(7, 2)])
    frames = torch.tensor([[0.0, 0, 60, 50]] * 2)
    found = NeighbourGrouping(neighbours=1, detections=4)(_candidates(*images), frames)
    assert found.valid.tolist() == [[True, True, False, False], [False] * 4]
    assert found.labels[0, :2].tolist() == [1, 0]
    torch.testing.assert_close(found.scores[0, :2], torch.tensor([2.7 / 3.7, 1.2 / 2.2]))
    assert found.boxes[0, :2].tolist() == [[30, 20, 60, 50], [11, 11, 31, 31]]  # clipped
    assert found.scores.dtype == found.boxes.dtype == torch.float32


def test_no_more_detections_than_are_wanted() -> None:
    boxes = torch.from_numpy(np.random.default_rng(0).integers(0, 40, (1, 9, 4))).float().sort()[0]
    frames = torch.tensor([[0.0, 0, 60, 50]])
    merged = NeighbourGrouping(neighbours=0, detections=5)
    found = merged(_candidates(boxes, torch.rand(1, 9, 3)), frames)
    assert found.valid.all()
    assert (found.scores.diff() <= 0).all()
