"""YOLOv1 and v2 from image to loss and detections, small."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import detectors
from detectors.detector import Detector
from detectors.layers.progress import tell
from detectors.structures import Targets
from tests.examples import START

SIDE = 128


@pytest.fixture(scope="module", params=["yolov1", "yolov1_local", "yolov2"])
def detector(request: pytest.FixtureRequest) -> Detector:
    torch.manual_seed(0)
    words = ["size=small", "part.backbone.width=4"]
    return detectors.build(request.param, words, num_classes=3, image_size=SIDE).eval()


@pytest.fixture(autouse=True)
def _fresh_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _batch(*counts: int, rows: int = 6) -> tuple[Tensor, Targets]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(len(counts), 3, SIDE, SIDE, generator=generator) * 255
    corner = torch.rand(len(counts), rows, 2, generator=generator) * 90
    side = 4 + torch.rand(len(counts), rows, 2, generator=generator) * 60
    labels = torch.randint(3, (len(counts), rows), generator=generator)
    valid = torch.arange(rows) < torch.tensor(counts)[:, None]
    boxes = torch.cat([corner, corner + side], dim=-1)
    return images, Targets(boxes, labels, valid, torch.zeros_like(valid))


def test_loss_is_one_graph_with_and_without_objects(detector: Detector) -> None:
    compiled = torch.compile(detector.loss, fullgraph=True, dynamic=False, backend="eager")
    for counts in ((4, 0), (0, 0)):
        images, targets = _batch(*counts)
        found, expected = compiled(images, targets), detector.loss(images, targets)
        assert all(term.isfinite() for term in expected.values())
        for name, term in expected.items():
            torch.testing.assert_close(found[name], term)


def test_padding_changes_nothing(detector: Detector) -> None:
    images, targets = _batch(4, 2)
    longer = Targets(*(torch.cat([field, field], dim=1) for field in targets))
    longer = longer._replace(valid=torch.cat([targets.valid, targets.valid & False], dim=1))
    found, expected = detector.loss(images, longer), detector.loss(images, targets)
    assert all(torch.equal(found[name], term) for name, term in expected.items())


def test_every_parameter_learns(detector: Detector) -> None:
    images, targets = _batch(4, 0)
    detector.zero_grad(set_to_none=True)
    sum(detector.loss(images, targets).values()).backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_scores_lie_between_zero_and_one(detector: Detector) -> None:
    images, _ = _batch(0, 0)
    scores = detector.head.detect(detector.head(detector.features(images), None)).scores
    assert scores.shape[-1] == 3
    assert ((scores >= 0) & (scores <= 1)).all()


def test_yolov2_prior_loss_follows_the_clock_within_one_graph() -> None:
    words = ["size=small", "part.backbone.width=1"]
    detector = detectors.build("yolov2", words, num_classes=3).eval()
    compiled = torch.compile(detector.loss, fullgraph=True, dynamic=False, backend="eager")
    images, targets = _batch(0, 0)
    tell(detector, START)
    early = compiled(images, targets)["box"]
    tell(detector, START._replace(images_seen=12_800))
    assert early > 0
    assert compiled(images, targets)["box"] == 0
