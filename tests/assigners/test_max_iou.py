"""Assignment by overlap against torchvision's matcher."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from detectors.assigners.max_iou import MaxIoU, forced_matches
from detectors.structures import Priors
from tests.examples import assignable_rows, predictions, random_boxes, random_targets, targets

THRESHOLDS = {"retinanet": (0.5, 0.4), "rpn": (0.7, 0.3), "regions": (0.5, 0.5)}


def anchors(boxes: Tensor) -> Priors:
    count = boxes.shape[1]
    return Priors(boxes, torch.ones(count), (count,), (64, 64))


@pytest.mark.parametrize("forced", [True, False])
@pytest.mark.parametrize(("positive", "negative"), THRESHOLDS.values(), ids=THRESHOLDS.keys())
@pytest.mark.parametrize("seed", range(5))
def test_is_torchvisions_matcher(positive: float, negative: float, forced: bool, seed: int) -> None:
    """Anchors stand there twice, so that forced matches tie; some equal an object."""
    torch.manual_seed(seed)
    objects = random_targets(3, 7, 4)
    boxes = torch.cat([random_boxes(1, 150), objects.boxes[:1, :3]], dim=1).repeat(1, 2, 1)
    raw = predictions(anchors(boxes), 3, 4)
    found = MaxIoU(positive, negative, forced)(raw, boxes, objects)
    matcher = Matcher(positive, negative, allow_low_quality_matches=forced)
    for image in range(3):
        rows = torch.tensor(assignable_rows(objects, image))
        expected = matcher(box_iou(objects.boxes[image, rows], boxes[0]))
        assert torch.equal(found.positive[image], expected >= 0)
        assert torch.equal(found.ignored[image], expected == Matcher.BETWEEN_THRESHOLDS)
        matched = torch.where(expected >= 0, rows[expected.clamp(min=0)], 0)
        assert torch.equal(found.matched[image] * found.positive[image], matched)


def test_both_thresholds_are_inclusive() -> None:
    """IoU of one half is positive and one of two fifths is ignored, a hair less is not."""
    boxes = torch.tensor([[[0.0, 0, 10, 5], [0, 0, 10, 4.99], [0, 0, 10, 4], [0, 0, 10, 3.99]]])
    found = MaxIoU(0.5, 0.4, forced=False)(
        predictions(anchors(boxes), 1, 1), boxes, targets([(0, 0, 0, 10, 10)])
    )
    assert found.positive.tolist() == [[True, False, False, False]]
    assert found.ignored.tolist() == [[False, True, True, False]]


def test_a_forced_prior_predicts_the_object_it_overlaps_most() -> None:
    """The second object's best prior is the first one's too, and overlaps the first one more."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [40, 40, 50, 50]]])
    objects = targets([(0, 0, 0, 10, 11), (1, 0, 8, 10, 20)])
    found = MaxIoU(0.5, 0.4, forced=True)(predictions(anchors(boxes), 1, 2), boxes, objects)
    assert found.positive.tolist() == [[True, False]]
    assert found.matched.tolist() == [[0, 0]]


def test_an_object_that_overlaps_no_prior_forces_none() -> None:
    """torchvision's matcher takes every prior for it, all being equally bad."""
    boxes = torch.tensor([[[0.0, 0, 10, 10], [40, 40, 50, 50]]])
    objects = targets([(0, 20, 20, 30, 30)])
    found = MaxIoU(0.5, 0.4, forced=True)(predictions(anchors(boxes), 1, 1), boxes, objects)
    assert not found.positive.any()
    assert not found.ignored.any()


def test_all_priors_that_tie_are_forced() -> None:
    overlaps = torch.tensor([[[0.2, 0.3, 0.3, 0.1], [-1.0, -1.0, -1.0, -1.0]]])
    assert forced_matches(overlaps).tolist() == [[False, True, True, False]]


def test_proposals_differ_from_image_to_image() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10]], [[30.0, 30, 40, 40]]])
    one = (0, 0, 0, 10, 10)
    found = MaxIoU(0.5, 0.5, forced=False)(
        predictions(anchors(boxes), 2, 1), boxes, targets([one], [one])
    )
    assert found.positive.tolist() == [[True], [False]]


def test_thresholds_the_wrong_way_round() -> None:
    with pytest.raises(ValueError, match="set negative <= positive"):
        MaxIoU(positive=0.4, negative=0.5, forced=False)


@pytest.mark.parametrize("seed", range(3))
def test_below_the_least_overlap_a_prior_is_ignored(seed: int) -> None:
    torch.manual_seed(seed)
    objects = random_targets(2, 5, 4)
    objects.valid[1] = False
    boxes = random_boxes(2, 60)
    raw = predictions(anchors(boxes), 2, 4)
    found = MaxIoU(0.5, 0.5, False, least=0.1)(raw, boxes, objects)
    for image in range(2):
        rows = assignable_rows(objects, image)
        for n in range(60):
            overlaps = [float(box_iou(objects.boxes[image, [m]], boxes[image, [n]])) for m in rows]
            best = max([*overlaps, 0.0])
            assert found.positive[image, n] == (best >= 0.5)
            assert found.ignored[image, n] == (best < 0.1)
    assert found.ignored[1].all()  # no object, no hard negatives


def test_a_range_of_background_that_is_empty_is_refused() -> None:
    with pytest.raises(ValueError, match=r"background from IoU 0.6 on and below 0.5 is none"):
        MaxIoU(0.5, 0.5, False, least=0.6)
