"""Published parameter counts, to the unit.

Counted is every number that may learn: weights and biases of convolutions and linear layers, scales
and shifts of norms. Running statistics are not counted, nor are the scales and shifts of a frozen
batch norm, which are buffers.
"""

from functools import partial

import pytest
import torch
from torch import nn

import detectors
from detectors.backbones.csp_darknet import CSPDarknet
from detectors.backbones.darknet import Darknet
from detectors.backbones.darknet19 import Darknet19
from detectors.backbones.extraction import Extraction

YOLOV1 = "YOLOv1, Fig. 3: 60,155,968 of 24 convolutions, 211,547,582 of two connected layers"
FILTERS = "the same, two numbers for each of 13,184 filters but no bias"
CFG = "layers of darknet's cfg/"
BUILT = "parameters of torchvision.models.detection.*_resnet50_fpn(_v2), built without weights"
LOADED = "num_params in the metadata of torchvision's COCO_V1 weights, whose batch norms are frozen"
SSD = "num_params of torchvision's SSD300_VGG16 COCO_V1; class 0 is the background"
CAFFE = "layers of SSD's released model definitions, VGG-16 with fc6 and fc7 reduced"
DETECTRON = "layers of detectron2's faster_rcnn_R_50_C4; scales and shifts of norms are counted"
PY_FASTER = "layers of py-faster-rcnn's VGG16 faster_rcnn_end2end prototxt"
CASCADE = "parameters of mmdetection 3.3's cascade_rcnn_r50_fpn, built"
KL = "faster_rcnn for 80 and one more layer of 1024 x 324 + 324, KL-Loss's bbox_pred_std"
IOU_NET = "faster_rcnn for 80 and 12544 x 1024, 1024 x 1024 and 1024 x 80 with biases"
CENTERNET2 = "the release's CenterNet2(-F)_R50_1x, built with batch norms that learn"
CENTERNET = "layers of CenterNet's released networks/"
# The release also makes two 1x1 projections with batch norm, of 64 to 128 and 128 to 256 channels,
# in the outer trees of levels 3 and 4 whose result nothing reads; timm's DLA leaves them out.
UNREAD = 64 * 128 + 2 * 128 + 128 * 256 + 2 * 256

# family, classes, further overrides, count, source. torchvision's 91 classes are COCO's ids, one of
# them background, which SSD and Faster R-CNN alone need and we do not count.
PUBLISHED = [
    ("yolov1", 20, [], 271_703_550, YOLOV1),
    ("yolov1", 20, ["norm=batch_darknet"], 271_716_734, FILTERS),
    ("yolov1_local", 20, [], 197_301_875, CFG + "yolov1/yolo.cfg"),
    ("yolov2_voc", 20, [], 50_655_389, CFG + "yolov2-voc.cfg"),
    ("yolov2", 80, [], 50_962_889, CFG + "yolov2.cfg"),
    ("yolov3", 80, [], 61_949_149, CFG + "yolov3.cfg"),
    ("yolov3", 20, [], 61_626_049, CFG + "yolov3-voc.cfg"),
    ("yolov3_spp", 80, [], 62_998_749, CFG + "yolov3-spp.cfg"),
    ("yolov3_tiny", 80, [], 8_852_366, CFG + "yolov3-tiny.cfg"),
    ("yolov4", 80, [], 64_363_101, CFG + "yolov4.cfg"),
    ("yolov4_tiny", 80, [], 6_056_606, CFG + "yolov4-tiny.cfg"),
    ("ssd300", 90, [], 35_641_826, SSD),
    ("ssd300", 80, [], 34_305_206, CAFFE),
    ("ssd300", 20, [], 26_285_486, CAFFE),
    ("ssd512", 80, [], 36_038_196, CAFFE),
    ("ssd512", 20, [], 27_188_676, CAFFE),
    ("retinanet", 91, [], 34_068_119, BUILT),
    ("retinanet", 20, [], 32_595_224, BUILT),
    ("retinanet", 91, ["norm=frozen"], 34_014_999, LOADED),
    ("retinanet_v2", 91, [], 38_198_935, BUILT),
    ("retinanet_v2", 20, [], 36_726_040, BUILT),
    ("fcos", 91, [], 32_322_720, BUILT),
    ("fcos", 20, [], 32_159_065, BUILT),
    ("fcos", 91, ["norm=frozen"], 32_269_600, LOADED),
    ("faster_rcnn", 90, [], 41_808_406, BUILT),
    ("faster_rcnn", 20, [], 41_449_656, BUILT),
    ("faster_rcnn", 90, ["norm=frozen"], 41_755_286, LOADED),
    ("faster_rcnn_v2", 90, [], 43_712_278, BUILT),
    ("faster_rcnn_v2", 20, [], 43_353_528, BUILT),
    ("faster_rcnn_c4", 80, [], 33_844_764, DETECTRON),
    ("faster_rcnn_c4", 80, ["norm=frozen"], 33_791_644, DETECTRON),
    ("faster_rcnn_c4", 20, [], 33_230_064, DETECTRON),
    ("faster_rcnn_vgg", 20, [], 137_078_239, PY_FASTER),
    ("faster_rcnn_kl", 80, [], 42_089_256, KL),
    ("centernet2", 80, [], 71_699_017, CENTERNET2),
    ("centernet2", 80, ["norm=frozen"], 71_645_897, CENTERNET2 + "; frozen"),
    ("centernet2", 20, [], 71_514_517, CENTERNET2),
    ("centernet2_f", 80, [], 43_733_407, CENTERNET2),
    ("centernet2_f", 20, [], 43_671_907, CENTERNET2),
    ("iou_net", 80, [], 55_734_836, IOU_NET),
    ("cascade_rcnn", 80, [], 69_394_766, CASCADE),
    ("cascade_rcnn", 20, [], 69_210_266, CASCADE),
    ("cascade_rcnn_c4", 80, [], 63_475_082, DETECTRON + "; three looks with one box each"),
    ("centernet", 80, ["backbone=resnet18"], 15_820_372, CENTERNET + "msra_resnet.py"),
    ("centernet", 20, ["backbone=resnet18"], 15_816_472, CENTERNET + "msra_resnet.py"),
    ("centernet_dcn", 80, ["backbone=resnet18"], 14_437_349, CENTERNET + "resnet_dcn.py"),
    ("centernet_dcn", 20, ["backbone=resnet18"], 14_433_449, CENTERNET + "resnet_dcn.py"),
    ("centernet_dcn", 80, ["backbone=resnet50"], 30_681_061, CENTERNET + "resnet_dcn.py"),
    ("centernet_dcn", 80, ["backbone=resnet101"], 49_673_189, CENTERNET + "resnet_dcn.py"),
    ("centernet_dla", 80, [], 19_675_892 - UNREAD, CENTERNET + "pose_dla_dcn.py"),
    ("centernet_dla", 20, [], 19_660_472 - UNREAD, CENTERNET + "pose_dla_dcn.py"),
    ("centernet_hourglass", 80, [], 191_284_008, CENTERNET + "large_hourglass.py, two stacks"),
]


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("family", "classes", "overrides", "count", "source"),
    PUBLISHED,
    ids=["-".join([family, str(classes), *words]) for family, classes, words, *_ in PUBLISHED],
)
def test_as_published(
    family: str, classes: int, overrides: list[str], count: int, source: str
) -> None:
    with torch.device("meta"):
        detector = detectors.build(family, overrides, num_classes=classes)
    assert _count(detector) == count, source


@pytest.mark.parametrize(
    ("family", "classes", "count"),
    [("yolov1", 20, 24), ("yolov1_local", 20, 24), ("yolov2_voc", 20, 23), ("yolov2", 80, 23)],
)
def test_convolutions_as_published(family: str, classes: int, count: int) -> None:
    with torch.device("meta"):
        detector = detectors.build(family, num_classes=classes)
    assert sum(isinstance(part, nn.Conv2d) for part in detector.modules()) == count


CLASSIFIER = 1024 * 1000 + 1000  # the 1 x 1 convolution of ImageNet's 1000 classes
LEAKY = partial(nn.LeakyReLU, 0.1)


# backbone, activation, without the classifier on top, with it, source
@pytest.mark.parametrize(
    ("backbone", "act", "bare", "count", "source"),
    [
        (Darknet19, LEAKY, 19_817_376, 20_842_376, "cfg/darknet19.cfg; yolov2.cfg, layers 0 to 22"),
        (Darknet, LEAKY, 40_584_928, 41_609_928, "cfg/darknet53.cfg; yolov3.cfg, layers 0 to 74"),
        (
            CSPDarknet,
            nn.Mish,
            26_617_184,
            27_642_184,
            "cfg/csdarknet53-omega.cfg; yolov4.cfg, layers 0 to 104",
        ),
    ],
)
def test_classifiers_as_published(
    backbone: type[nn.Module], act: type[nn.Module], bare: int, count: int, source: str
) -> None:
    with torch.device("meta"):
        network = backbone(nn.BatchNorm2d, act)
    assert _count(network) == bare, source
    assert _count(network) + CLASSIFIER == count, source


def test_extraction() -> None:
    with torch.device("meta"):
        network = Extraction(nn.BatchNorm2d, LEAKY)
    *classified, added = network.stages
    shared = _count(nn.Sequential(*classified))
    assert shared == 22_412_224
    assert shared + CLASSIFIER == 23_437_224  # cfg/extraction.cfg
    assert _count(added) == 37_756_928
