"""YOLOv1's assignment, on cells of 64 px with two boxes each."""

import torch
from torch import Tensor

from detectors.assigners.responsible import Responsible
from detectors.priors import WholeImage
from detectors.structures import Assignment, FeatureSpec, Predictions, Priors, Targets

PRIORS: Priors = WholeImage(2)([torch.empty(1, 1, 2, 2)], [FeatureSpec(1, 64)])
NEAR, FAR, AWAY = [0.0, 0, 40, 40], [0.0, 0, 60, 60], [90.0, 90, 91, 91]


def _assign(
    boxes: list[list[float]], objects: list[list[float]], ignore: bool = False
) -> Assignment:
    """`boxes` are those of the first cell; all others are predicted far away."""
    predicted = torch.tensor([*boxes, *[AWAY] * 6])[None]
    rows = torch.tensor([*objects, NEAR])[None]  # the last one is padding
    count = len(objects)
    targets = Targets(
        boxes=rows,
        labels=torch.zeros(1, count + 1, dtype=torch.long),
        valid=(torch.arange(count + 1) < count)[None],
        ignore=torch.full((1, count + 1), ignore),
    )
    nothing = torch.zeros(1, 8, 1)
    return Responsible()(Predictions(nothing, predicted, None, PRIORS), predicted, targets)


def _positive(found: Assignment) -> list[int]:
    return found.positive[0].nonzero().flatten().tolist()


def test_the_box_of_highest_iou_is_responsible() -> None:
    assert _positive(_assign([FAR, NEAR], [[0.0, 0, 42, 42]])) == [1]
    assert _positive(_assign([NEAR, FAR], [[0.0, 0, 42, 42]])) == [0]


def test_a_slight_overlap_beats_a_small_distance() -> None:
    touching, close = [19.0, 19, 127, 127], [21.0, 21, 30, 30]
    assert _positive(_assign([close, touching], [[10.0, 10, 20, 20]])) == [1]


def test_the_nearest_is_where_none_overlaps() -> None:
    assert _positive(_assign([AWAY, [50.0, 50, 51, 51]], [[10.0, 10, 20, 20]])) == [1]


def test_the_first_object_of_a_cell_has_it() -> None:
    objects = [[0.0, 0, 42, 42], [0.0, 0, 60, 60], [70.0, 0, 80, 10]]
    found = _assign([NEAR, FAR], objects)
    assert _positive(found) == [0, 2]
    assert found.matched[0, [0, 2]].tolist() == [0, 2]


def test_a_centre_on_the_border_belongs_to_the_cell_behind_it() -> None:
    assert _positive(_assign([NEAR, FAR], [[44.0, 0, 84, 40]])) == [2]


def test_what_is_to_be_ignored_is_background() -> None:
    found = _assign([NEAR, FAR], [[0.0, 0, 42, 42]], ignore=True)
    assert not found.positive.any()
    assert not found.ignored.any()


def test_priors_are_the_whole_image_in_the_middle_of_each_cell() -> None:
    first: Tensor = PRIORS.boxes[0, 0]
    assert first.tolist() == [32 - 64, 32 - 64, 32 + 64, 32 + 64]
    assert torch.equal(PRIORS.boxes[0, ::2], PRIORS.boxes[0, 1::2])
