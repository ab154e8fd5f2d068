"""All families at their small size agree with their ONNX files."""

import pytest
import torch

import detectors
from detectors.data.augment.transforms import Letterbox
from detectors.export.description import Description, texts
from detectors.export.network import ExportedNetwork
from detectors.export.running import OnnxDetector
from detectors.export.verifying import agreement, batches, samples
from detectors.export.writing import as_onnx
from tests.export.conftest import draw

FAMILIES = ("yolov1", "yolov2", "yolov3", "yolov4", "ssd300", "retinanet", "faster_rcnn",
            "centernet", "fcos", "efficientdet_d0", "atss", "ota", "paa", "gfl",
            "foveabox", "localizer", "sliding_window", "cornernet", "yolox_s",
            "centernet2", "cascade_rcnn", "iou_net")  # fmt: skip
WORDS = {
    # Soft-NMS is not exported, and of random corners few are of one class.
    "cornernet": ["postprocess=nms", "part.head.head.grouping.most=1600"],
    "iou_net": ["part.localization.refinement=null"],  # which needs a gradient
}


@pytest.mark.slow
@pytest.mark.parametrize("suppression", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_agrees_with_its_onnx_file(family, suppression, data_root) -> None:
    torch.manual_seed(0)
    detector = detectors.build(
        family, ["size=small", *WORDS.get(family, [])], num_classes=20
    ).eval()
    draw(detector.head, gain=1)
    resize = Letterbox(320)
    network = ExportedNetwork(detector, suppression).eval()
    told = texts(Description(("a",) * 20, tuple(range(20)), resize, suppression, 32))
    file = OnnxDetector(as_onnx(network, resize.canvas, told))
    pictures = batches(samples(str(data_root / "coco_tiny" / "val2017"), resize))
    found = agreement(network, file, pictures)
    assert found.rows > 100
