"""Parameters are as many as published, and operations of one image, as `detectors show` tells them.

Parameters to the unit: tests/test_parameter_counts.py. Operations within 0.5 %, those of darknet's
cfg files to their last digit.

We count two for each multiply-add of a convolution, a deformable one like an ordinary one, and of
a matrix product; a second stage on as many regions as it may get. Darknet counts so too, but
convolutions only; torchvision's `_ops` are 1e9 multiply-adds, as are CenterNet's here. Beside each
figure stands what it counts.
"""

from typing import Any

import pytest

import detectors
from detectors.engine.operations import operations
from tests.examples import SCALED
from tests.shapes import shapes_only
from tests.test_parameter_counts import PUBLISHED as COUNTED
from tests.test_parameter_counts import numbers

TWICE = 1  # 1e9 operations, of two a multiply-add
ADDS = 2  # 1e9 multiply-adds

DARKNET = "two a multiply-add of the convolutions of cfg/{}.cfg"
README = "BFLOPs in the README of AlexeyAB/darknet, which counts pooling and shortcuts too"
OPS = "_ops in the metadata of torchvision's COCO_V1 weights, at 800 x 800"
LAYERS = "multiply-adds, layer by layer, of the released "
# Caffe rounds sizes up when pooling, as we do: 38 x 63 cells.
VGG = "VGG16 end to end, 300 regions, counted with 37 x 62 cells"
NAS_FPN = "convolutions of mmdet 3.3.0, which rounds the last two levels down"
EFFDET = "convolutions of effdet 0.4.1's tf_efficientdet_*, counted by torch"
YOLOX = "multiply-adds of the convolutions of yolox 0.3.0"
DLA = "pose_dla_dcn.py, with 0.067 of projections that nothing reads and we leave out"

# family, classes, (height, width), further overrides, figure, its unit, source
PUBLISHED = [
    ("yolov1", 20, (448, 448), [], 40.570, TWICE, "YOLOv1, Fig. 3, with connected layers"),
    ("yolov1_local", 20, (448, 448), [], 40.421, TWICE, "cfg/yolov1/yolo.cfg, with local layer"),
    ("yolov2_voc", 20, (416, 416), [], 29.360, TWICE, DARKNET.format("yolov2-voc")),
    ("yolov2_voc", 20, (544, 544), [], 50.208, TWICE, DARKNET.format("yolov2-voc")),
    ("yolov2", 80, (416, 416), [], 29.464, TWICE, DARKNET.format("yolov2")),
    ("yolov2", 80, (608, 608), [], 62.938, TWICE, DARKNET.format("yolov2")),
    ("yolov3", 80, (320, 320), [], 38.973, TWICE, DARKNET.format("yolov3")),
    ("yolov3", 80, (416, 416), [], 65.864, TWICE, DARKNET.format("yolov3")),
    ("yolov3", 80, (416, 416), [], 65.9, TWICE, README),
    ("yolov3", 80, (608, 608), [], 140.692, TWICE, DARKNET.format("yolov3")),
    ("yolov3", 20, (416, 416), [], 65.428, TWICE, DARKNET.format("yolov3-voc")),
    ("yolov3_spp", 80, (608, 608), [], 141.449, TWICE, DARKNET.format("yolov3-spp")),
    ("yolov3_tiny", 80, (416, 416), [], 5.565, TWICE, DARKNET.format("yolov3-tiny")),
    ("yolov4", 80, (416, 416), [], 60.1, TWICE, README),
    ("yolov4", 80, (512, 512), [], 91.1, TWICE, README),
    ("yolov4", 80, (608, 608), [], 128.5, TWICE, README),
    ("yolov4", 80, (608, 608), [], 128.389, TWICE, DARKNET.format("yolov4")),
    ("yolov4_tiny", 80, (416, 416), [], 6.908, TWICE, DARKNET.format("yolov4-tiny")),
    ("ssd300", 90, (300, 300), [], 34.858, ADDS, "_ops of torchvision's SSD300, at 300 x 300"),
    ("ssd300", 80, (300, 300), [], 34.360, ADDS, LAYERS + "SSD300, COCO"),
    ("ssd300", 20, (300, 300), ["priors=ssd300_voc"], 31.374, ADDS, LAYERS + "SSD300, VOC"),
    ("ssd512", 80, (512, 512), [], 98.629, ADDS, LAYERS + "SSD512, COCO"),
    ("ssd512", 20, (512, 512), ["priors=ssd512_voc"], 90.208, ADDS, LAYERS + "SSD512, VOC"),
    ("retinanet", 91, (800, 800), [], 151.54, ADDS, OPS),
    ("retinanet", 91, (800, 1344), [], 254.47, ADDS, LAYERS + "R50-FPN"),
    ("retinanet", 80, (800, 1344), [], 249.36, ADDS, LAYERS + "R50-FPN"),
    ("retinanet_v2", 91, (800, 800), [], 152.24, ADDS, OPS),
    ("retinanet_nas_fpn", 80, (800, 1344), [], 363.00, ADDS, NAS_FPN),
    ("fcos", 91, (800, 800), [], 128.207, ADDS, OPS),
    ("fcos", 80, (800, 1344), [], 214.73, ADDS, LAYERS + "R50-FPN"),
    ("gfl", 80, (800, 1344), [], 217.98, ADDS, LAYERS + "mmdetection's GFL R50-FPN"),
    ("atss", 80, (800, 1344), [], 214.73, ADDS, LAYERS + "mmdetection's ATSS R50-FPN"),
    ("paa", 80, (800, 1344), [], 214.73, ADDS, LAYERS + "mmdetection's PAA R50-FPN"),
    ("ota", 80, (800, 1344), [], 214.73, ADDS, LAYERS + "OTA R50-FPN, as of ATSS"),
    ("foveabox", 80, (800, 1344), [], 215.81, ADDS, LAYERS + "mmdetection's FoveaBox R50-FPN"),
    ("faster_rcnn", 90, (800, 800), [], 134.38, ADDS, OPS + ", 1000 regions"),
    ("faster_rcnn_v2", 90, (800, 800), [], 280.37, ADDS, OPS + ", 1000 regions"),
    ("faster_rcnn", 90, (800, 1344), [], 215.99, ADDS, LAYERS + "R50-FPN, 1000 regions"),
    ("cascade_rcnn", 80, (800, 1344), [], 243.57, ADDS, LAYERS + "R50-FPN, 1000 regions"),
    ("faster_rcnn_c4", 80, (800, 1344), [], 919.2, ADDS, LAYERS + "R50-C4, 1000 regions"),
    ("faster_rcnn_vgg", 20, (600, 1000), [], 224.6, ADDS, LAYERS + VGG),
    ("centernet", 80, (512, 512), ["backbone=resnet18"], 22.72, ADDS, LAYERS + "msra_resnet.py"),
    ("centernet_dcn", 80, (512, 512), ["backbone=resnet18"], 13.31, ADDS, LAYERS + "resnet_dcn.py"),
    ("centernet_dcn", 80, (512, 512), ["backbone=resnet50"], 26.19, ADDS, LAYERS + "resnet_dcn.py"),
    (
        "centernet_dcn",
        80,
        (512, 512),
        ["backbone=resnet101"],
        45.58,
        ADDS,
        LAYERS + "resnet_dcn.py",
    ),
    ("centernet_dla", 80, (512, 512), [], 33.10, ADDS, LAYERS + DLA),
    ("centernet_hourglass", 80, (512, 512), [], 292.71, ADDS, LAYERS + "large_hourglass.py"),
    ("efficientdet_d0", 90, (512, 512), [], 2.492, ADDS, EFFDET),
    ("efficientdet_d1", 90, (640, 640), [], 6.003, ADDS, EFFDET),
    ("efficientdet_d2", 90, (768, 768), [], 10.832, ADDS, EFFDET),
    ("efficientdet_d3", 90, (896, 896), [], 24.569, ADDS, EFFDET),
    ("efficientdet_d4", 90, (1024, 1024), [], 54.584, ADDS, EFFDET),
    ("efficientdet_d5", 90, (1280, 1280), [], 134.13, ADDS, EFFDET),
    ("efficientdet_d6", 90, (1280, 1280), [], 224.12, ADDS, EFFDET),
    ("efficientdet_d7", 90, (1536, 1536), [], 322.73, ADDS, EFFDET),
    ("efficientdet_d7x", 90, (1536, 1536), [], 407.63, ADDS, EFFDET),
    ("yolox_nano", 80, (416, 416), [], 0.5226, ADDS, YOLOX),
    ("yolox_tiny", 80, (416, 416), [], 3.206, ADDS, YOLOX),
    ("yolox_s", 80, (640, 640), [], 13.343, ADDS, YOLOX),
    ("yolox_m", 80, (640, 640), [], 36.765, ADDS, YOLOX),
    ("yolox_l", 80, (640, 640), [], 77.646, ADDS, YOLOX),
    ("yolox_x", 80, (640, 640), [], 140.70, ADDS, YOLOX),
    ("yolox_darknet53", 80, (640, 640), [], 92.340, ADDS, YOLOX),
]


PARAMETERS = {(family, classes, *words): rest for family, classes, words, *rest in COUNTED}
OPERATIONS: dict[tuple, list[list]] = {}
for family, classes, size, words, *rest in PUBLISHED:
    OPERATIONS.setdefault((family, classes, *words), []).append([size, *rest])


def case(model: tuple) -> Any:
    """Other numbers of classes change a scaled family as they change the one it is scaled from."""
    family, classes, *_ = model
    slow = family in SCALED and (family, 90) in PARAMETERS and classes != 90
    marks = [pytest.mark.slow] * slow
    return pytest.param(model, marks=marks, id="-".join(map(str, model)))


@pytest.mark.parametrize("model", [case(model) for model in {**PARAMETERS, **OPERATIONS}])
def test_as_published(model: tuple) -> None:
    family, classes, *words = model
    with shapes_only():
        detector = detectors.build(family, words, num_classes=classes).eval()
        if model in PARAMETERS:
            count, source = PARAMETERS[model]
            assert numbers(detector) == count, source
        for size, figure, unit, source in OPERATIONS.get(model, []):
            found = operations(detector, *size)
            tolerance = 1e-4 if "cfg" in source else 0.005
            assert found["all"] / unit / 1e9 == pytest.approx(figure, rel=tolerance), source
            assert found["all"] == found["backbone"] + found["neck"] + found["head"]
