"""Published parameter counts of the single-level Faster R-CNN, to the unit."""

import pytest

import detectors

DETECTRON = "layers of detectron2's faster_rcnn_R_50_C4; scales and shifts of norms are counted"
RELEASED = "layers of py-faster-rcnn's VGG16 faster_rcnn_end2end prototxt"


@pytest.mark.parametrize(
    ("family", "overrides", "classes", "count", "source"),
    [
        ("faster_rcnn_c4", [], 80, 33_844_764, DETECTRON),
        ("faster_rcnn_c4", ["norm=frozen"], 80, 33_791_644, DETECTRON),
        ("faster_rcnn_c4", [], 20, 33_230_064, DETECTRON),
        ("faster_rcnn_vgg", [], 20, 137_078_239, RELEASED),
    ],
)
def test_as_published(
    family: str, overrides: list[str], classes: int, count: int, source: str
) -> None:
    detector = detectors.build(family, overrides, num_classes=classes)
    assert sum(parameter.numel() for parameter in detector.parameters()) == count, source
