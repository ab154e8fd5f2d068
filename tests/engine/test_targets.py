"""What a second stage regresses is measured in the training data, class by class."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from detectors.coders import ClassDelta, Delta
from detectors.engine.build import configured, sketch
from detectors.engine.targets import LEAST, _targets, measure_targets
from detectors.structures import Priors
from detectors.weights.class_rows import class_rows
from detectors.weights.initial import random_model
from tests.data.proposals.test_recall import annotated


def test_targets_are_those_of_the_coder() -> None:
    """Objects and what overlaps one by half; the deltas of the objects themselves are zero."""
    rows = [(1, 10.0, 10.0, 50.0, 40.0, False), (0, 60.0, 60.0, 90.0, 90.0, False)]
    truth = annotated(rows, [(0, 0.0, 0.0, 5.0, 5.0, False)])
    boxes = np.array([[12.0, 8, 56, 42], [0, 0, 9, 9], [61, 58, 88, 93], [20, 20, 20, 30]])
    labels, deltas = _targets(boxes, truth, 0)
    assert labels.tolist() == [1, 0, 1, 0]
    near, objects = torch.tensor(boxes[[0, 2]]), torch.tensor(truth.boxes[:2])
    priors = Priors(near[None].float(), torch.ones(2), (2,), (100, 100))
    expected = Delta().encode(objects[None].float(), priors)[0]
    np.testing.assert_allclose(deltas[2:], expected.numpy(), atol=1e-5)
    assert not deltas[:2].any()


class Data:
    """Ten pictures and their proposals, which lie a quarter to the left of the objects."""

    classes = tuple("abcdefghijklmnopqrst")

    def __init__(self) -> None:
        rows = [(1, 20.0, 20.0, 60.0, 60.0, False)], [(1, 10.0, 0.0, 30.0, 20.0, False)]
        self.truth = annotated(*rows * 5)

    def source(self, split: str) -> Any:
        assert split == "train"
        return SimpleNamespace(annotations=self.truth)

    def proposals_of(self, split: str) -> Any:
        rows = dict(zip(self.truth.image_ids.tolist(), self.truth.boxes, strict=True))
        side = {number: row[2] - row[0] for number, row in rows.items()}
        return SimpleNamespace(
            boxes=lambda number: rows[number][None] - [side[number] / 4, 0, side[number] / 4, 0]
        )


def test_the_coder_is_given_mean_and_deviation_of_each_class() -> None:
    detector = fast_rcnn()
    head: Any = detector.head
    measure_targets(detector, Data())  # type: ignore[arg-type]
    # Of each picture the object with 0 and a proposal with 1/4, half of both mirrored: mean 0.
    expected = [np.sqrt((0 + 0.25**2) / 2), LEAST, LEAST, LEAST]
    torch.testing.assert_close(head.coder.deviation[1], torch.tensor(expected).float())
    assert not head.coder.mean.any()
    torch.testing.assert_close(head.coder.deviation[0], torch.tensor([0.1, 0.1, 0.2, 0.2]))


def fast_rcnn() -> Any:
    """A small one with random weights."""
    words = ["model=fast_rcnn", "size=small", "data.proposals=proposals/x.npz", "run_dir=."]
    return random_model(configured([*words, "part.head.region_head.width=16"]))


def test_a_class_that_few_proposals_meet_keeps_its_figures(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Objects alone, whose deltas are 0, would leave no room to move a box."""
    detector, data = fast_rcnn(), Data()
    data.truth = data.truth._replace(labels=np.array([1] * 9 + [2]))
    before = detector.head.coder.deviation.clone()
    measure_targets(detector, data)  # type: ignore[arg-type]
    assert torch.equal(detector.head.coder.deviation, before)
    assert "stay as they were: a, b, c" in caplog.text


def test_loaded_weights_predict_the_same_boxes_by_new_figures() -> None:
    detector = fast_rcnn()
    predictor, coder = detector.head.region_head.predictor, detector.head.coder
    torch.nn.init.normal_(predictor.deltas.bias)
    hidden = torch.randn(1, 1, predictor.logits.in_features)
    region = Priors(torch.tensor([[[[10.0, 20, 50, 40]]]]), torch.ones(1), (1,), (64, 64))
    before = coder.decode(predictor(hidden)[1], region)
    measure_targets(detector, Data(), loaded=True)  # type: ignore[arg-type]
    assert not torch.equal(coder.deviation[1], coder.deviation[0])
    torch.testing.assert_close(coder.decode(predictor(hidden)[1], region), before)


def test_figures_of_a_class_are_found_by_its_name() -> None:
    rows = class_rows(fast_rcnn(), 20, ["head.coder.mean", "head.coder.deviation"])
    assert all(found.tolist() == list(range(20)) for found in rows.values())
    assert len(rows) == 2


@pytest.mark.parametrize("words", ["model=faster_rcnn", "model=retinanet", "model=hog"])
def test_other_models_are_left_alone(words: str) -> None:
    measure_targets(sketch(configured([words, "run_dir=."])), None)  # type: ignore[arg-type]


def test_a_coder_for_which_nothing_is_measured_is_refused() -> None:
    detector = random_model(configured(["model=faster_rcnn", "size=small", "run_dir=."]))
    detector.head.coder = ClassDelta(20)  # type: ignore[union-attr, assignment]
    with pytest.raises(ValueError, match=r"measured for the one look of model=fast_rcnn alone"):
        measure_targets(detector, Data())  # type: ignore[arg-type]


def test_one_box_for_all_classes_is_refused() -> None:
    words = ["model=fast_rcnn", "head=two_stage_windows", "+part.head.region_head.one_box=true"]
    with pytest.raises(ValueError, match=r"set region_head\.one_box=false"):
        sketch(configured([*words, "run_dir=."]))
