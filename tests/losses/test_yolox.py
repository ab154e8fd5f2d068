"""YOLOX's box and class losses, prior by prior."""

import math

import pytest
import torch
from torchvision.ops import box_iou

from detectors.losses.box import IoULoss
from detectors.losses.classification import OverlapCrossEntropy
from tests.losses.loss_examples import CLASSES, gradients, matched

IMAGES = ("+-i+", "----")


def overlap(given, image: int, prior: int) -> float:
    pair = given.boxes[image, prior][None].detach(), given.target_boxes[image, prior][None]
    return float(box_iou(*pair))


def test_a_box_costs_one_minus_the_power_of_its_overlap() -> None:
    given = matched(*IMAGES)
    costs = IoULoss("iou", weight=5.0, power=2.0)(given)
    for image, states in enumerate(IMAGES):
        for prior, state in enumerate(states):
            expected = 5 * (1 - overlap(given, image, prior) ** 2) if state == "+" else 0.0
            assert float(costs[image, prior]) == pytest.approx(expected, abs=1e-5)


def test_a_power_of_one_is_the_plain_loss() -> None:
    given = matched(*IMAGES)
    assert torch.equal(IoULoss("iou", power=1.0)(given), IoULoss("iou")(given))


def test_a_power_of_what_may_be_negative_is_refused() -> None:
    with pytest.raises(ValueError, match=r"power 2\.0 of 'giou'"):
        IoULoss("giou", power=2.0)


def test_a_class_learns_the_overlap_and_the_others_zero() -> None:
    given = matched(*IMAGES)
    costs = OverlapCrossEntropy()(given)
    for image, states in enumerate(IMAGES):
        for prior, state in enumerate(states):
            expected = 0.0
            for label in range(CLASSES if state == "+" else 0):
                p = float(given.predictions.logits[image, prior, label].sigmoid())
                own = label == int(given.labels[image, prior])
                target = overlap(given, image, prior) if own else 0.0
                expected -= target * math.log(p) + (1 - target) * math.log(1 - p)
            assert float(costs[image, prior]) == pytest.approx(expected, abs=1e-5)


def test_the_overlap_is_a_constant_for_the_gradient() -> None:
    assert (gradients(OverlapCrossEntropy(), matched(*IMAGES)).boxes == 0).all()
