"""The model made of cascades: fitted on small pictures, or begun with a file of OpenCV's format."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from detectors.fitted import Work
from detectors.fitted.cascade_scan import layers, scan
from detectors.fitted.cascade_xml import read_cascade
from detectors.fitted.detector import FittedDetector
from detectors.fitted.grouping import NeighbourGrouping, grouped
from detectors.fitted.viola_jones import ViolaJones
from detectors.structures import Sample
from tests.fitted.small_cascades import XML, picture
from tests.fitted.works import sample, work


def _scene(number: int) -> Sample:
    """A picture with a dark ring on noise, which is the first of two classes."""
    draw = np.random.default_rng(number)
    image = draw.integers(100, 200, (48, 64)).astype(np.uint8)
    x, y, radius = draw.integers(12, 52), draw.integers(12, 36), draw.integers(7, 11)
    cv2.circle(image, (int(x), int(y)), int(radius) - 2, 20, 4)
    boxes = [[x - radius, y - radius, x + radius, y + radius]]
    return sample(np.repeat(image[..., None], 3, axis=2), boxes, [0], number)


def _model(**words: object) -> ViolaJones:
    numbers = {"height": 12, "width": 12, "depth": 3, "objects": 60, "others": 150, "stumps": 5}
    return ViolaJones(2, **(numbers | {"margin": 0.125, "per_picture": 20} | words))


def _fit(model: ViolaJones, given: Work) -> list[dict]:
    told = []
    for number, stage in enumerate(model.stages):
        told.append(dict(model.fit(stage, given)))
        model.done.fill_(number + 1)
    return told


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[ViolaJones, list[dict]]:
    model = _model()
    given = work([_scene(n) for n in range(24)], ("ring", "cross"), tmp_path_factory.mktemp("vj"))
    return model, _fit(model, given)


def test_rings_are_found(fitted: tuple[ViolaJones, list[dict]]) -> None:
    model, told = fitted
    assert told[0] == {"windows of ring": 48, "windows of cross": 0}
    assert told[1]["others of ring"] == 150
    assert told[1]["detection_rate of ring"] >= 0.995
    assert len(model.cascade(1).stage_thresholds) == 0
    detector = FittedDetector(model, NeighbourGrouping(neighbours=1), num_classes=2).eval()
    hits = 0
    for scene in map(_scene, range(100, 110)):
        image = torch.from_numpy(scene.image.transpose(2, 0, 1).copy())[None]
        found = detector(image)
        assert set(found.labels[found.valid].tolist()) <= {0}
        hits += bool((found.boxes[0, 0] - torch.from_numpy(scene.boxes[0])).abs().max() < 5)
    assert hits >= 7


def test_the_same_seed_gives_the_same_cascade_through_a_checkpoint(
    fitted: tuple[ViolaJones, list[dict]], tmp_path: Path
) -> None:
    given = work([_scene(n) for n in range(24)], ("ring", "cross"), tmp_path)
    first = _model()
    first.fit("objects", given)
    first.fit("stage 1", given)
    resumed = _model()
    resumed.load_state_dict(first.state_dict())
    for model in (first, resumed):
        model.fit("stage 2", given)
        model.fit("stage 3", given)
    for name, value in fitted[0].state_dict().items():
        if name != "done":
            assert torch.equal(first.state_dict()[name], value), name
            assert torch.equal(resumed.state_dict()[name], value), name


def test_features_may_be_drawn(tmp_path: Path) -> None:
    given = work([_scene(n) for n in range(6)], ("ring", "cross"), tmp_path)
    model = _model(features=50, depth=1)
    _fit(model, given)
    assert 1 <= len(model.cascade(0).feature) <= 5


def test_a_file_of_opencv_is_a_model(tmp_path: Path) -> None:
    path = tmp_path / "small.xml"
    path.write_text(XML)
    model = ViolaJones(1, factor=1.3, weights=str(path))
    assert model.described() == {"stages": "2", "nodes": "4"}
    grey = picture(26, 33)
    windows = scan(read_cascade(path), layers(grey, (6, 7), 1.3)).boxes
    found = model.scan(np.repeat(grey[..., None], 3, axis=2))
    np.testing.assert_array_equal(found.boxes[:, :2], windows[:, :2])
    np.testing.assert_array_equal(found.boxes[:, 2:] - found.boxes[:, :2], windows[:, 2:])
    image = torch.from_numpy(np.repeat(grey[None, None], 3, axis=1))
    detector = FittedDetector(model, NeighbourGrouping(neighbours=2), num_classes=1).eval()
    detections = detector(image)
    expected = grouped(windows, 2).boxes
    assert int(detections.valid.sum()) == len(expected) > 0
    restored = ViolaJones(1, factor=1.3)
    restored.load_state_dict(model.state_dict())
    again = FittedDetector(restored, NeighbourGrouping(neighbours=2), num_classes=1).eval()(image)
    assert torch.equal(again.boxes, detections.boxes)
    with pytest.raises(ValueError, match="one class, but the data has 3"):
        ViolaJones(3, weights=str(path))


def test_pictures_without_objects_are_refused(tmp_path: Path) -> None:
    empty = sample(np.zeros((20, 20, 3), np.uint8), [], [], 0)
    with pytest.raises(ValueError, match="no object of the training pictures"):
        _model().fit("objects", work([empty], ("ring", "cross"), tmp_path))
    assert _model().described() == {"window": "12 x 12", "stages": 3}
