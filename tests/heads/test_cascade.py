"""A cascade looks again at the boxes that it found, against loops over regions and objects."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

import detectors
from detectors.detector import Detector
from detectors.heads.region_stage import RegionLook
from detectors.structures import Targets
from tests.examples import targets

WORDS = [
    "size=small",
    "part.neck.channels=16",
    "+part.head.region_head.width=16",
    *(
        f"part.head.{when}_proposals.{key}=60"
        for when in ("train", "test")
        for key in ("per_level", "detections")
    ),
]
SIDE, OVERLAPS = 128, (0.5, 0.6, 0.7)
FRAMES = torch.tensor([[0.0, 0, 100, 128], [0.0, 0, 128, 90]])
PICTURES = {
    "two_and_none": targets([(1, 8, 8, 40, 60), (2, 30, 20, 90, 100)], []),
    "alike": targets([(0, 8, 8, 60, 60), (2, 8, 8, 60, 60)], [(1, 10, 10, 50, 50, "ignore")]),
    "none": targets([], []),
}


def cascade(*words: str) -> Detector:
    """With boxes that move from look to look."""
    detector = detectors.build("cascade_rcnn", [*WORDS, *words], num_classes=3)
    for name, parameter in detector.head.named_parameters():
        if name.endswith("predictor.deltas.weight"):
            torch.nn.init.normal_(parameter, std=0.5)
    return detector.eval()


@pytest.fixture(scope="module")
def resampling() -> Detector:
    return cascade()


@pytest.fixture(scope="module")
def keeping() -> Detector:
    """As detectron2's, which draws for the first look alone."""
    return cascade("part.head.later.second.sampler=null", "part.head.later.third.sampler=null")


def looks(detector: Detector, objects: Targets | None) -> tuple[RegionLook, ...]:
    torch.manual_seed(3)
    with torch.no_grad():
        features = detector.features(torch.rand(2, 3, SIDE, SIDE) * 255)
        return detector.head(features, FRAMES, objects).looks


def moved(detector: Detector, look: RegionLook, index: int) -> Tensor:
    """Boxes [B, R, 4] that the look with this index gives, corner by corner (R-CNN, appendix C)."""
    weights = (10.0 * (index + 1), 10.0 * (index + 1), 5.0 * (index + 1), 5.0 * (index + 1))
    result = torch.empty_like(look.regions.boxes)
    for image, frame in enumerate(FRAMES):
        for row, (x1, y1, x2, y2) in enumerate(look.regions.boxes[image]):
            dx, dy, dw, dh = look.predictions.deltas[image, row] / torch.tensor(weights)
            x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
            w, h = (x2 - x1) * dw.exp(), (y2 - y1) * dh.exp()
            corners = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            result[image, row] = corners.clamp(min=0).minimum(frame[2:].repeat(2))
    return result


def overlap(a: Tensor, b: Tensor) -> float:
    w, h = (min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1))
    common = max(float(w), 0) * max(float(h), 0)
    whole = sum(float((c[2] - c[0]) * (c[3] - c[1])) for c in (a, b)) - common
    return common / whole if whole > 0 else 0.0


def expected_object(box: Tensor, objects: Targets, image: int, least: float) -> int | None:
    """The first object that a region overlaps most, if by enough."""
    rows = [r for r in range(8) if objects.valid[image, r] and not objects.ignore[image, r]]
    best = max(rows, key=lambda r: overlap(objects.boxes[image, r], box), default=None)
    if best is None or overlap(objects.boxes[image, best], box) < least:
        return None
    return best


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("kind", ["resampling", "keeping"])
def test_each_look_labels_anew_what_the_one_before_moved(
    kind: str, picture: str, request: pytest.FixtureRequest
) -> None:
    detector, objects = request.getfixturevalue(kind), PICTURES[picture]
    found = looks(detector, objects)
    assert len(found) == 3
    for index, look in enumerate(found):
        assert look.assignment is not None
        for image, row in look.regions.valid.nonzero().tolist():
            box = look.regions.boxes[image, row]
            wanted = expected_object(box, objects, image, OVERLAPS[index])
            assert bool(look.assignment.positive[image, row]) == (wanted is not None)
            if wanted is not None:
                assert int(look.assignment.matched[image, row]) == wanted
        assert (look.assignment.ignored == ~look.regions.valid).all()


@pytest.mark.parametrize("picture", PICTURES)
def test_a_look_that_samples_draws_from_moved_boxes_and_objects(
    resampling: Detector, picture: str
) -> None:
    objects = PICTURES[picture]
    found = looks(resampling, objects)
    for index, (before, after) in enumerate(pairwise(found)):
        boxes = moved(resampling, before, index)
        for image in range(2):
            kept = before.regions.valid[image] & ~before.regions.added[image]
            real = objects.valid[image] & ~objects.ignore[image]
            offered = torch.cat([boxes[image][kept], objects.boxes[image][real]])
            drawn = after.regions.boxes[image][after.regions.valid[image]]
            assert len(drawn) == len(offered), "fewer than 512 are offered, so all are drawn"
            assert torch.cdist(drawn, offered, p=torch.inf).amin(1).max() < 1e-3
            assert int((after.regions.added & after.regions.valid)[image].sum()) == int(real.sum())


def test_a_look_that_keeps_sees_the_regions_of_the_first_moved(keeping: Detector) -> None:
    found = looks(keeping, PICTURES["two_and_none"])
    for index, (before, after) in enumerate(pairwise(found)):
        torch.testing.assert_close(
            after.regions.boxes, moved(keeping, before, index), rtol=1e-4, atol=1e-3
        )
        assert torch.equal(after.regions.valid, before.regions.valid)


def test_scores_are_the_mean_of_all_looks_and_boxes_those_of_the_last(
    resampling: Detector,
) -> None:
    head, found = resampling.head, looks(resampling, None)
    torch.manual_seed(3)
    with torch.no_grad():
        features = resampling.features(torch.rand(2, 3, SIDE, SIDE) * 255)
        candidates = head.detect(head(features, FRAMES))
    for image, row in found[0].regions.valid.nonzero().tolist():
        scores = [look.predictions.logits[image, row].softmax(0)[1:] for look in found]
        mean = (scores[0] + scores[1] + scores[2]) / 3
        torch.testing.assert_close(candidates.scores[image, row], mean)
    inside = moved(resampling, found[2], 2)
    cut = candidates.boxes.clamp(min=0).minimum(FRAMES[:, None, 2:].repeat(1, 1, 2))
    torch.testing.assert_close(cut, inside, rtol=1e-4, atol=1e-3)


def test_losses_weigh_less_from_look_to_look(resampling: Detector) -> None:
    plain = cascade("part.head.later.second.weight=1.0", "part.head.later.third.weight=1.0")
    plain.load_state_dict(resampling.state_dict())
    given = torch.rand(2, 3, SIDE, SIDE) * 255, PICTURES["two_and_none"], FRAMES
    found = []
    for detector in (resampling, plain):
        torch.manual_seed(5)  # of the samplers
        found.append(detector.loss(*given))
    few, whole = found
    weights = {"proposal": 1, "region": 1, "second": 0.5, "third": 0.25}
    assert {name.split("_")[0] for name in few} == set(weights)
    for name, term in few.items():
        torch.testing.assert_close(term, weights[name.split("_")[0]] * whole[name])


def test_no_gradient_reaches_a_look_through_the_boxes_of_the_next(resampling: Detector) -> None:
    resampling.zero_grad(set_to_none=True)
    given = torch.rand(2, 3, SIDE, SIDE) * 255, PICTURES["two_and_none"], FRAMES
    losses = resampling.loss(*given)
    (losses["third_class"] + losses["third_box"]).backward()
    assert all(part.grad is None for part in resampling.head.region_head.parameters())
    third = resampling.head.later["third"].parameters()
    assert all(part.grad is not None for part in third)


def test_a_look_with_the_name_of_another_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="a later look is named 'region'"):
        cascade("+part.head.later.region=${part.head.later.second}")


def test_boxes_by_class_are_refused_where_another_look_follows() -> None:
    with pytest.raises(ValueError, match=r"TwoMLPHead gives.*set region_head\.one_box=true"):
        cascade("part.head.region_head.one_box=false")
    own = "part.head.later.third.region_head={_target_:detectors.heads.roi_heads.TwoMLPHead"
    cascade(f"{own},_partial_:true,width:16}}")  # none follows
