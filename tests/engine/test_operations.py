"""What `detectors show` counts of a detector that computes gradients to find its boxes."""

import torch

import detectors
from detectors.engine.operations import operations


def test_the_refinement_of_iou_net_is_counted() -> None:
    words = ["size=small", "+part.head.region_head.width=32"]
    words.append("+part.localization.branch.width=32")
    counts = []
    for more in ([], ["part.localization.refinement=null"]):
        with torch.device("meta"):
            detector = detectors.build("iou_net", [*words, *more], num_classes=3).eval()
        counts.append(operations(detector, 64, 64))
    refined, plain = counts
    assert refined["head"] == plain["head"]  # what comes after it belongs to no part
    assert refined["all"] > plain["all"]
