"""Published parameter counts, to the unit; those of whole families are tested in test_sizes.py.

Counted is every number that may learn: weights and biases of convolutions and linear layers, scales
and shifts of norms. Running statistics are not counted, nor are the scales and shifts of a frozen
batch norm, which are buffers.
"""

from functools import partial

import pytest
from torch import nn

import detectors
from detectors.backbones.csp_darknet import CSPDarknet
from detectors.backbones.darknet import Darknet
from detectors.backbones.darknet19 import Darknet19
from detectors.backbones.extraction import Extraction
from detectors.backbones.timm import TimmBackbone
from detectors.tta import TruncatedSVD
from tests.shapes import shapes_only

YOLOV1 = "YOLOv1, Fig. 3: 60,155,968 of 24 convolutions, 211,547,582 of two connected layers"
FILTERS = "the same, two numbers for each of 13,184 filters but no bias"
CFG = "layers of darknet's cfg/"
BUILT = "parameters of torchvision.models.detection.*_resnet50_fpn(_v2), built without weights"
LOADED = "num_params in the metadata of torchvision's COCO_V1 weights, whose batch norms are frozen"
SSD = "num_params of torchvision's SSD300_VGG16 COCO_V1; class 0 is the background"
CAFFE = "layers of SSD's released model definitions, VGG-16 with fc6 and fc7 reduced"
DETECTRON = "layers of detectron2's faster_rcnn_R_50_C4; scales and shifts of norms are counted"
PY_FASTER = "layers of py-faster-rcnn's VGG16 faster_rcnn_end2end prototxt"
FAST = "layers of fast-rcnn's VGG16 prototxt"
FAST_S = ["backbone=caffenet", "part.pooler.size=6"]
FAST_M = ["backbone=vgg_m", "part.pooler.size=6", "+part.head.region_head.second=1024"]
MMDET = "parameters of mmdetection 3.3's configs/{}, counted after building it"
ATSS = "the same of mmdetection, and the biases of 8 x 256 filters that the releases have"
OTA = "layers of the release's fcos.py, which are those of ATSS and PAA"
NAS_FPN = "nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco.py"
FOVEA_ALIGN = "foveabox/fovea_r50_fpn_gn-head-align_4xb4-2x_coco.py"
NO_BIAS = ["+part.tower.bias=false"]
CASCADE = "parameters of mmdetection 3.3's cascade_rcnn_r50_fpn, built"
KL = "faster_rcnn for 80 and one more layer of 1024 x 324 + 324, KL-Loss's bbox_pred_std"
IOU_NET = "faster_rcnn for 80 and 12544 x 1024, 1024 x 1024 and 1024 x 80 with biases"
CENTERNET2 = "the release's CenterNet2(-F)_R50_1x, built with batch norms that learn"
CENTERNET = "layers of CenterNet's released networks/"
LOCALIZER = "23,508,032 of ResNet-50 without its classifier and 2049 x (C + 4)"
WINDOWS = "8,543,296 of ResNet-50 up to stride 16 and 1025 x (1 + C + 4)"
CORNERNET = "parameters of the releases' models/, built with corner pools stubbed"
EFFDET = "parameters of effdet 0.4.1's tf_efficientdet_*, built without weights"
YOLOX = "parameters of yolox 0.3.0, built without weights"
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
    ("retinanet_nas_fpn", 80, [], 59_979_828, MMDET.format(NAS_FPN)),
    ("retinanet_nas_fpn", 20, [], 58_735_128, MMDET.format(NAS_FPN)),
    ("fcos", 91, [], 32_322_720, BUILT),
    ("fcos", 20, [], 32_159_065, BUILT),
    ("fcos", 91, ["norm=frozen"], 32_269_600, LOADED),
    ("gfl", 80, [], 32_440_537, MMDET.format("gfl/gfl_r50_fpn_1x_coco.py")),
    ("gfl", 20, [], 32_302_237, MMDET.format("gfl/gfl_r50_fpn_1x_coco.py")),
    ("atss", 80, [], 32_297_370, ATSS),
    ("atss", 20, [], 32_159_070, ATSS),
    ("atss", 80, NO_BIAS, 32_295_322, MMDET.format("atss/atss_r50_fpn_1x_coco.py")),
    ("atss", 20, NO_BIAS, 32_157_022, MMDET.format("atss/atss_r50_fpn_1x_coco.py")),
    ("paa", 80, [], 32_297_370, ATSS),
    ("paa", 20, [], 32_159_070, ATSS),
    ("paa", 80, NO_BIAS, 32_295_322, MMDET.format("paa/paa_r50_fpn_1x_coco.py")),
    ("ota", 80, [], 32_297_370, OTA),
    ("ota", 20, [], 32_159_070, OTA),
    ("foveabox", 80, [], 36_419_732, MMDET.format("foveabox/fovea_r50_fpn_4xb4-1x_coco.py")),
    ("foveabox", 20, [], 36_281_432, MMDET.format("foveabox/fovea_r50_fpn_4xb4-1x_coco.py")),
    ("foveabox_align", 80, [], 38_615_476, MMDET.format(FOVEA_ALIGN)),
    ("foveabox_align", 20, [], 38_062_456, MMDET.format(FOVEA_ALIGN)),
    ("faster_rcnn", 90, [], 41_808_406, BUILT),
    ("faster_rcnn", 20, [], 41_449_656, BUILT),
    ("faster_rcnn", 90, ["norm=frozen"], 41_755_286, LOADED),
    ("faster_rcnn_v2", 90, [], 43_712_278, BUILT),
    ("faster_rcnn_v2", 20, [], 43_353_528, BUILT),
    ("faster_rcnn_c4", 80, [], 33_844_764, DETECTRON),
    ("faster_rcnn_c4", 80, ["norm=frozen"], 33_791_644, DETECTRON),
    ("faster_rcnn_c4", 20, [], 33_230_064, DETECTRON),
    ("faster_rcnn_vgg", 20, [], 137_078_239, PY_FASTER),
    ("fast_rcnn", 20, [], 134_690_729, FAST),
    ("fast_rcnn", 20, FAST_S, 57_298_409, "layers of fast-rcnn's CaffeNet prototxt"),
    ("fast_rcnn", 20, FAST_M, 86_333_161, "layers of fast-rcnn's VGG_CNN_M_1024 prototxt"),
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
    ("cornernet", 80, [], 201_035_212, CORNERNET),
    ("cornernet", 20, [], 200_973_532, CORNERNET),
    ("cornernet_squeeze", 80, [], 31_771_852, CORNERNET),
    ("centernet_triplets", 80, [], 210_062_960, CORNERNET),
    ("centernet_triplets", 80, ["part.backbone.stacks=1"], 104_844_152, CORNERNET),
    ("efficientdet_d0", 80, [], 3_874_217, EFFDET),
    ("efficientdet_d0", 90, [], 3_880_067, EFFDET),
    ("efficientdet_d0", 20, [], 3_839_117, EFFDET),
    ("efficientdet_d1", 80, [], 6_617_888, EFFDET),
    ("efficientdet_d1", 20, [], 6_569_828, EFFDET),
    ("efficientdet_d2", 80, [], 8_086_869, EFFDET),
    ("efficientdet_d2", 20, [], 8_025_849, EFFDET),
    ("efficientdet_d3", 80, [], 12_017_806, EFFDET),
    ("efficientdet_d3", 20, [], 11_930_866, EFFDET),
    ("efficientdet_d4", 80, [], 20_703_425, EFFDET),
    ("efficientdet_d4", 20, [], 20_581_925, EFFDET),
    ("efficientdet_d5", 80, [], 33_627_305, EFFDET),
    ("efficientdet_d5", 20, [], 33_471_245, EFFDET),
    ("efficientdet_d6", 80, [], 51_837_132, EFFDET),
    ("efficientdet_d6", 20, [], 51_629_232, EFFDET),
    ("efficientdet_d7", 80, [], 51_837_132, EFFDET),
    ("efficientdet_d7", 20, [], 51_629_232, EFFDET),
    ("efficientdet_d7x", 90, [], 77_147_166, EFFDET),
    ("efficientdet_d7x", 80, [], 77_112_516, EFFDET),
    ("efficientdet_d7x", 20, [], 76_904_616, EFFDET),
    ("localizer", 20, [], 23_557_208, LOCALIZER),
    ("localizer", 80, [], 23_680_148, LOCALIZER),
    ("sliding_window", 20, [], 8_568_921, WINDOWS),
    ("yolox_nano", 80, [], 912_159, YOLOX),
    ("yolox_nano", 20, [], 900_459, YOLOX),
    ("yolox_tiny", 80, [], 5_055_855, YOLOX),
    ("yolox_tiny", 20, [], 5_038_395, YOLOX),
    ("yolox_s", 80, [], 8_968_255, YOLOX),
    ("yolox_s", 20, [], 8_945_035, YOLOX),
    ("yolox_m", 80, [], 25_326_495, YOLOX),
    ("yolox_m", 20, [], 25_291_755, YOLOX),
    ("yolox_l", 80, [], 54_208_895, YOLOX),
    ("yolox_l", 20, [], 54_162_635, YOLOX),
    ("yolox_x", 80, [], 99_071_455, YOLOX),
    ("yolox_x", 20, [], 99_013_675, YOLOX),
    ("yolox_darknet53", 80, [], 63_724_767, YOLOX),
    ("yolox_darknet53", 20, [], 63_678_507, YOLOX),
]


def numbers(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("family", "classes", "count"),
    [("yolov1", 20, 24), ("yolov1_local", 20, 24), ("yolov2_voc", 20, 23), ("yolov2", 80, 23)],
)
def test_convolutions_as_published(family: str, classes: int, count: int) -> None:
    with shapes_only():
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
    with shapes_only():
        network = backbone(nn.BatchNorm2d, act)
    assert numbers(network) == bare, source
    assert numbers(network) + CLASSIFIER == count, source


# of backbone, neck and tower for 80 classes, yolox 0.3.0
@pytest.mark.parametrize(
    ("family", "counts"),
    [
        ("yolox_nano", (459_968, 347_424, 104_767)),
        ("yolox_s", (4_212_672, 2_834_688, 1_920_895)),
        ("yolox_x", (50_301_600, 36_902_400, 11_867_455)),
    ],
)
def test_parts_of_yolox(family: str, counts: tuple[int, ...]) -> None:
    with shapes_only():
        detector = detectors.build(family, num_classes=80)
    parts = detector.backbone, detector.neck, detector.head
    assert tuple(numbers(part) for part in parts) == counts


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("cspresnext50", 18_520_896),
        ("densenet121", 6_953_856),
        ("inception_v3", 21_785_568),
        ("resnest50d", 25_434_240),
    ],
)
def test_backbones_of_timm(name: str, count: int) -> None:
    """As timm 1.0.31 counts those of `features_only`."""
    with shapes_only():
        assert numbers(TimmBackbone(name)) == count


@pytest.mark.parametrize(
    ("family", "network", "regressors"),
    [("rcnn", 56_954_261, 737_360), ("rcnn_vgg", 134_346_581, 2_007_120)],
)
def test_numbers_of_rcnn(family: str, network: int, regressors: int) -> None:
    """Layers of bvlc_reference_rcnn_ilsvrc13's and VGG-16's prototxt with fc8 of 21, VOC."""
    with shapes_only():
        fitted = detectors.build(family, num_classes=20).fitted
    assert fitted.described() == {
        "network": network,
        "machines": 20 * 4097,
        "regressors": regressors,
    }
    assert numbers(fitted) == network


def test_extraction() -> None:
    with shapes_only():
        network = Extraction(nn.BatchNorm2d, LEAKY)
    *classified, added = network.stages
    shared = numbers(nn.Sequential(*classified))
    assert shared == 22_412_224
    assert shared + CLASSIFIER == 23_437_224  # cfg/extraction.cfg
    assert numbers(added) == 37_756_928


def test_fast_rcnn_with_thin_layers_has_those_of_its_release() -> None:
    """Convolutions 14,714,688, thin layers 31,989,760, predictors 430,185."""
    with shapes_only():
        detector = detectors.build("fast_rcnn", num_classes=20)
        thin = TruncatedSVD(detector, {"fc6": 1024, "fc7": 256})
    assert sum(parameter.numel() for parameter in thin.parameters()) == 47_134_633
