"""An object gets several priors instead of the one with the best shape."""

import pytest
import torch
from torch import nn

from detectors.assigners.best_shape import BestShape
from detectors.assigners.center_sampling import CenterSampling
from detectors.assigners.max_iou import MaxIoU
from detectors.assigners.shape_threshold import ShapeThreshold, several
from detectors.ops.boxes import centers, sides
from tests.examples import assignable_rows, predictions, random_boxes, random_targets, shapes

SIDES = [[(8.0, 12.0), (14.0, 10.0)], [(20.0, 24.0), (40.0, 30.0)]]
PRIORS = shapes([8, 16], SIDES)
COUNT = PRIORS.boxes.shape[1]


def shape_overlap(a: list[float], b: list[float]) -> float:
    common = min(a[0], b[0]) * min(a[1], b[1])
    return common / (a[0] * a[1] + b[0] * b[1] - common)


def test_every_similar_shape_of_the_cell_is_positive_and_what_is_ignored_stays() -> None:
    """Against a loop; no class score is so low that a prior is not ignored."""
    torch.manual_seed(0)
    raw, objects = predictions(PRIORS, 2, 3), random_targets(2, 8, 3)
    raw = raw._replace(logits=raw.logits - 8)
    boxes = random_boxes(2, COUNT)
    one = BestShape(ignore=0.3)
    plain, found = one(raw, boxes, objects), several(one, 0.213)(raw, boxes, objects)
    middle, side = centers(PRIORS.boxes[0]).tolist(), sides(PRIORS.boxes[0]).tolist()
    strides = PRIORS.stride.tolist()
    positive = plain.positive.clone()
    for image in range(2):
        for row in assignable_rows(objects, image):
            x, y = centers(objects.boxes[image, row]).clamp(0, 63.999).tolist()
            shape = sides(objects.boxes[image, row]).tolist()
            for n, stride in enumerate(strides):
                same_cell = middle[n][0] // stride == x // stride
                same_cell = same_cell and middle[n][1] // stride == y // stride
                if same_cell and shape_overlap(shape, side[n]) > 0.213:
                    positive[image, n] = True
    assert torch.equal(found.positive, positive)
    assert positive.sum() > plain.positive.sum()
    assert torch.equal(found.ignored, plain.ignored & ~positive)


def test_a_threshold_of_one_is_lowered_and_the_rest_stays() -> None:
    tiny = ShapeThreshold(1.0, ignore=0.7, gate=0.25, unused=[(10, 14)], most=6)
    found = several(tiny, 0.213)
    assert vars(found) | {"threshold": 1.0} == vars(tiny) | {"training": True}


@pytest.mark.parametrize(
    "assigner",
    [MaxIoU(0.5, 0.4, True), CenterSampling(), ShapeThreshold(0.213, ignore=0.7, gate=0.25)],
)
def test_others_are_refused(assigner: nn.Module) -> None:
    with pytest.raises(ValueError, match=f"{type(assigner).__name__} does not choose one best"):
        several(assigner, 0.213)
