"""Any assigner in any family: refused with a reason, or its priors teach the head."""

import pytest
import torch

from detectors.config.compose import compose
from detectors.detector import Detector
from detectors.engine.build import initial_detector
from detectors.layers.progress import tell
from detectors.structures import Assignment
from tests.examples import START, files
from tests.tricks.bag import FAMILIES, SIDE, given_batch

FAST = {("yolov3", "sim_ota"), ("fcos", "paa")}
ASSIGNERS = [path.stem for path in files("assigner")]
ADAPTIVE = ("atss", "sim_ota", "ota", "paa")  # serve every family, as docs/tricks.md says
CELLS = [(f, a) for f in FAMILIES for a in ASSIGNERS]
# No prior lies inside of the picture; the shape that no level has fits every object best.
NOTHING_FITS = {("yolov1", "max_iou_sampled_inside")} | {
    (family, "shape_threshold_tiny") for family in ("centernet", "cornernet", "centernet_triplets")
}
# The family's own; that of yolox_s is the shared form, which differs in other pictures.
AS_OWN = {("atss", "atss"), ("gfl", "atss"), ("yolox_s", "sim_ota")}
# Share of the layers that learn; of other families half. Each level has layers of its own here, of
# which those without an object learn nothing.
LEARNING = {"ssd300": 1 / 6, "efficientdet_d0": 1 / 5}
SOFTMAX = ("faster_rcnn", "cascade_rcnn", "iou_net")  # whose `part.score` is of the second stage
SCORE = "part.assigner.score={_target_:detectors.scores.ClassAlone}"


def made(family: str, *words: str) -> Detector:
    torch.manual_seed(0)
    side = f"image_size={SIDE.get(family, 96)}"
    return initial_detector(compose([f"model={family}", "size=small", side, *words])).eval()


def assigned(detector: Detector, side: int) -> Assignment:
    batch = given_batch(side, 4)
    output = detector.head(detector.features(batch.images), batch.frames)
    return detector.head.assign(output, batch.targets)[1]


def served(family: str, name: str) -> Detector:
    """With the assigner, and the scores of classes for one that a proposal stage has to tell."""
    ranks = "score" in compose([f"assigner={name}"]).part.assigner
    own_score = [SCORE] if family in SOFTMAX and ranks else []
    try:
        return made(family, f"assigner={name}", *own_score)
    except ValueError as error:
        if name in ADAPTIVE:
            raise
        pytest.skip(str(error))


@pytest.mark.parametrize(
    ("family", "name"),
    [pytest.param(*cell, marks=[pytest.mark.slow] * (cell not in FAST)) for cell in CELLS],
)
def test_objects_get_priors_and_these_teach(family: str, name: str) -> None:
    side = SIDE.get(family, 96)
    detector = served(family, name)
    found = assigned(detector, side)
    assert found.positive.any() == ((family, name) not in NOTHING_FITS)
    if name in ADAPTIVE:
        alike = torch.equal(found.positive, assigned(made(family), side).positive)
        assert alike == ((family, name) in AS_OWN)
    batch = given_batch(side, 4)
    tell(detector, START)
    terms = detector.train().loss(batch.images, batch.targets, batch.frames)
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())
    if (family, name) in NOTHING_FITS:
        return
    assert all(term > 0 for term in terms.values())
    learnt = [p.grad for p in detector.head.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in learnt)
    share = sum(bool(gradient.any()) for gradient in learnt) / len(learnt)
    assert share > LEARNING.get(family, 1 / 2)
