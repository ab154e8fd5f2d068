"""Published parameter counts, to the unit.

Counted is every number that may learn: weights and biases of convolutions and linear layers, scales
and shifts of norms. Running statistics are not counted, nor are the scales and shifts of a frozen
batch norm, which are buffers.
"""

import pytest
import torch

import detectors

BUILT = "parameters of torchvision.models.detection.*_resnet50_fpn, built without weights"
LOADED = "num_params in the metadata of torchvision's COCO_V1 weights, whose batch norms are frozen"
DARKNET = "layers of darknet's cfg/yolov3.cfg (80 classes) and cfg/yolov3-voc.cfg (20)"
RELEASED = "layers of CenterNet's released networks/msra_resnet.py, num_layers=18"

# family, classes, further overrides, count, source. torchvision's 91 classes are COCO's ids, one of
# them background, which Faster R-CNN alone needs and we do not count.
PUBLISHED = [
    ("retinanet", 91, [], 34_068_119, BUILT),
    ("retinanet", 20, [], 32_595_224, BUILT),
    ("retinanet", 91, ["norm=frozen"], 34_014_999, LOADED),
    ("fcos", 91, [], 32_322_720, BUILT),
    ("fcos", 20, [], 32_159_065, BUILT),
    ("fcos", 91, ["norm=frozen"], 32_269_600, LOADED),
    ("faster_rcnn", 90, [], 41_808_406, BUILT),
    ("faster_rcnn", 20, [], 41_449_656, BUILT),
    ("faster_rcnn", 90, ["norm=frozen"], 41_755_286, LOADED),
    ("yolov3", 80, [], 61_949_149, DARKNET),
    ("yolov3", 20, [], 61_626_049, DARKNET),
    ("centernet", 80, ["backbone=resnet18"], 15_820_372, RELEASED),
    ("centernet", 20, ["backbone=resnet18"], 15_816_472, RELEASED),
]


@pytest.mark.parametrize(
    ("family", "classes", "overrides", "count", "source"),
    PUBLISHED,
    ids=[f"{family}-{classes}-{'-'.join(words)}" for family, classes, words, *_ in PUBLISHED],
)
def test_as_published(
    family: str, classes: int, overrides: list[str], count: int, source: str
) -> None:
    with torch.device("meta"):
        detector = detectors.build(family, num_classes=classes, overrides=overrides)
    assert sum(parameter.numel() for parameter in detector.parameters()) == count, source
