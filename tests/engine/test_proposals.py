"""`data.proposals` takes the first stage out of the config, or is refused with a reason."""

import pytest
import torch

from detectors.detector import Detector
from detectors.engine.build import configured, sketch
from detectors.engine.proposals import check_own, check_proposals
from detectors.fitted.detector import FittedDetector

FILE = "data.proposals=proposals/x.npz"


def fed(*words: str) -> Detector:
    return sketch(configured([*words, "size=small", FILE, "run_dir=."]))


@pytest.mark.parametrize("family", ["fast_rcnn", "faster_rcnn", "cascade_rcnn", "iou_net"])
def test_any_second_stage_is_fed(family: str) -> None:
    head = fed(f"model={family}").head
    assert head.takes_proposals
    assert head.needs_proposals
    assert not any("proposal_head" in name for name, _ in head.named_parameters())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["model=retinanet"], "no second stage that would look at them"),
        (["model=centernet2"], "multiplies its scores by those of its first stage"),
        (["model=faster_rcnn", "tower=rpn_deep"], "this model does not use 'tower'"),
    ],
)
def test_what_cannot_be_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fed(*words)


def test_data_and_detector_must_agree() -> None:
    with pytest.raises(ValueError, match="these data have none: make it with"):
        check_proposals(fed("model=fast_rcnn"), None)
    own = sketch(configured(["model=faster_rcnn", "size=small", "run_dir=."]))
    with pytest.raises(ValueError, match="not trained on proposals of a file"):
        check_proposals(own, "x.npz")
    check_proposals(own, None)


def test_without_a_file_fast_rcnn_looks_at_windows_where_it_is_said() -> None:
    plain = sketch(configured(["model=fast_rcnn", "size=small", "run_dir=."]))
    with pytest.raises(ValueError, match="head=two_stage_windows looks at the same windows"):
        check_proposals(plain, None)
    words = ["model=fast_rcnn", "head=two_stage_windows", "size=small", "run_dir=."]
    detector = sketch(configured(words))
    check_proposals(detector, None)
    assert detector.head.takes_proposals
    assert not detector.head.needs_proposals
    images = torch.empty(1, 3, 96, 96, device="meta")
    windows = detector.head(detector.features(images), torch.empty(1, 4, device="meta"))
    assert windows.looks[0].regions.boxes.shape[1] == len(detector.head.windows.unit)


@pytest.mark.parametrize("words", ["model=rcnn", "model=rcnn_vgg"])
def test_rcnn_is_fed_in_the_place_of_its_own_proposals(words: str) -> None:
    detector = fed(words)
    assert isinstance(detector, FittedDetector)
    assert detector.fitted.needs_proposals
    check_proposals(detector, "x.npz")
    with pytest.raises(ValueError, match="these data have none"):
        check_proposals(detector, None)
    with pytest.raises(ValueError, match="predict: this model was trained on proposals"):
        check_own(detector, "predict")
    own = sketch(configured([words, "size=small", "run_dir=."]))
    check_proposals(own, None)
    with pytest.raises(ValueError, match="not trained on proposals of a file"):
        check_proposals(own, "x.npz")


def test_a_fitted_model_without_proposals_is_refused() -> None:
    with pytest.raises(ValueError, match="no second stage that would look at them"):
        fed("model=hog")
