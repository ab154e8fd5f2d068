"""Faster R-CNN's nine anchors equal the published ones, and those beyond the image are left out."""

import torch
from hydra.utils import instantiate

from detectors.assigners.inside import Inside
from detectors.assigners.max_iou import MaxIoU
from detectors.config.compose import compose
from detectors.structures import FeatureSpec, Predictions, Priors, Targets

# Printed by the released generate_anchors.py; pixels count from 0 and include both ends.
RELEASED = [
    [-84, -40, 99, 55],
    [-176, -88, 191, 103],
    [-360, -184, 375, 199],
    [-56, -56, 71, 71],
    [-120, -120, 135, 135],
    [-248, -248, 263, 263],
    [-36, -80, 51, 95],
    [-80, -168, 95, 183],
    [-168, -344, 183, 359],
]


def test_anchors_are_the_released_ones() -> None:
    grid = instantiate(compose(["model=faster_rcnn_vgg"]).part.priors, _convert_="all")
    priors = grid([torch.zeros(1, 512, 3, 5)], [FeatureSpec(512, 16)])
    first = torch.tensor(RELEASED, dtype=torch.float32)
    first[:, 2:] += 1  # both ends count there
    cell = torch.tensor([3 * 16.0, 2 * 16.0]).repeat(2)  # the fourth of the third row
    assert torch.equal(priors.boxes[0, :9], first)
    assert torch.equal(priors.boxes[0, 9 * (2 * 5 + 3) :][:9], first + cell)


def _assigned(boxes: list[list[float]], objects: list[list[float]]):
    priors = Priors(torch.tensor([boxes]), torch.ones(len(boxes)), (len(boxes),), (50, 60))
    nothing = torch.zeros(1, len(boxes), 1)
    rows = torch.ones(1, len(objects), dtype=torch.bool)
    targets = Targets(torch.tensor([objects]), rows.long() * 0, rows, ~rows)
    assigner = Inside(MaxIoU(0.7, 0.3, forced=True))
    return assigner(Predictions(nothing, nothing, None, priors), priors.boxes, targets)


def test_the_best_prior_of_those_inside_is_positive() -> None:
    """The first fits best but leaves the image; the second touches the border and is inside."""
    found = _assigned(
        [[-1.0, 0.0, 20.0, 20.0], [0.0, 0.0, 60.0, 20.0], [30.0, 30.0, 50.0, 50.0]],
        [[0.0, 0.0, 20.0, 20.0]],
    )
    assert found.positive.tolist() == [[False, True, False]]
    assert found.ignored.tolist() == [[True, False, False]]


def test_where_all_leave_the_image_nothing_counts() -> None:
    found = _assigned([[-1.0, 0.0, 20.0, 20.0], [0.0, 0.0, 61.0, 20.0]], [[0.0, 0.0, 20.0, 20.0]])
    assert not found.positive.any()
    assert found.ignored.all()
