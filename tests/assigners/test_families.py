"""The adaptive assigners work with every one-stage family and with a proposal stage."""

import pytest
import torch

from detectors.config.compose import compose
from detectors.detector import Detector
from detectors.engine.build import initial_detector
from detectors.layers.progress import tell
from detectors.structures import Assignment
from tests.examples import START
from tests.tricks.bag import FAMILIES, SIDE, given_batch

FAST = {("yolov3", "sim_ota"), ("fcos", "paa")}
CELLS = [(f, a) for f in FAMILIES for a in ("atss", "sim_ota", "paa")]
SCORE = "part.assigner.score={_target_:detectors.scores.ClassAlone}"


def made(family: str, *words: str) -> Detector:
    torch.manual_seed(0)
    side = f"image_size={SIDE.get(family, 96)}"
    return initial_detector(compose([f"model={family}", "size=small", side, *words])).eval()


def assigned(detector: Detector, side: int) -> Assignment:
    batch = given_batch(side, 4)
    output = detector.head(detector.features(batch.images), batch.frames)
    return detector.head.assign(output, batch.targets)[1]


@pytest.mark.parametrize(
    ("family", "name"),
    [pytest.param(*cell, marks=[pytest.mark.slow] * (cell not in FAST)) for cell in CELLS],
)
def test_objects_get_other_priors_and_these_teach(family: str, name: str) -> None:
    side = SIDE.get(family, 96)
    own_score = [SCORE] if family == "faster_rcnn" and name != "atss" else []
    detector = made(family, f"assigner={name}", *own_score)
    found, before = assigned(detector, side), assigned(made(family), side)
    assert found.positive.any()
    assert not torch.equal(found.positive, before.positive)
    batch = given_batch(side, 4)
    tell(detector, START)
    terms = detector.train().loss(batch.images, batch.targets, batch.frames)
    sum(terms.values()).backward()
    assert all(term.isfinite() and term > 0 for term in terms.values())
    learnt = [p.grad for p in detector.head.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in learnt)
    assert sum(bool(gradient.any()) for gradient in learnt) > len(learnt) / 2
