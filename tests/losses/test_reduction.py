"""Loss normalisers count as each family does."""

from functools import partial

import pytest
import torch

from detectors.losses import reduction
from detectors.losses.reduction import (
    per_batch_counted,
    per_batch_positives,
    per_batch_positives_and_images,
    per_batch_positives_and_one,
    per_image,
    per_image_positives,
)

POSITIVE = torch.tensor([[1.0, 1, 1, 0, 0], [0, 0, 1, 0, 0]])
COUNTED = torch.tensor([[1.0, 1, 1, 1, 0], [1, 1, 1, 1, 1]])
NOTHING = torch.zeros(2, 5)


@pytest.mark.parametrize(
    ("normalizer", "expected", "of_nothing"),
    [
        (per_batch_positives, [4, 4], [1, 1]),  # FCOS, eq. 2
        (per_batch_positives_and_one, [5, 5], [1, 1]),  # EfficientDet's release
        (per_batch_positives_and_images, [4 + 2, 4 + 2], [2, 2]),  # FoveaBox
        (per_image_positives, [3 * 2, 1 * 2], [2, 2]),  # torchvision's RetinaNet
        (per_batch_counted, [9, 9], [1, 1]),  # Faster R-CNN
        (per_image, [2, 2], [2, 2]),  # darknet
    ],
)
def test_counts_by_hand(normalizer, expected: list, of_nothing: list) -> None:
    assert normalizer(POSITIVE, COUNTED).tolist() == expected
    assert normalizer(NOTHING, NOTHING).tolist() == of_nothing


def test_total_divides_each_image_by_its_own() -> None:
    costs = torch.tensor([[1.0, 2, 3], [4.0, 5, 7]])
    assert reduction.total(costs, torch.tensor([2.0, 4.0])) == 6 / 2 + 16 / 4


@pytest.mark.parametrize(
    "normalizer", [per_batch_positives, per_batch_counted, per_batch_positives_and_one]
)
def test_averaged_gradients_of_two_devices_are_those_of_one(monkeypatch, normalizer) -> None:
    """Each of two devices holds one image; their mean loss is the one of both images together."""
    loss = torch.tensor([[1.0, 2, 3, 4, 5], [6.0, 7, 8, 9, 10]])
    together = (loss.sum(1) / normalizer(POSITIVE, COUNTED)).sum()
    own = COUNTED if normalizer is per_batch_counted else POSITIVE
    monkeypatch.setattr(reduction.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(reduction.dist, "get_world_size", lambda: 2)
    alone = []
    for image in range(2):
        there = own[1 - image].sum()
        add = partial(torch.Tensor.add_, other=there)
        monkeypatch.setattr(reduction.dist, "all_reduce", add)
        rows = slice(image, image + 1)
        alone.append((loss[rows].sum(1) / normalizer(POSITIVE[rows], COUNTED[rows])).sum())
    torch.testing.assert_close(sum(alone) / 2, together)
