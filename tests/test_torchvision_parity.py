"""With the same weights our RetinaNet, FCOS and Faster R-CNN, v1 and v2, are torchvision's."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import detection as torchvision_detection

import detectors
from detectors.data.sources.coco import read_coco
from detectors.detector import Detector
from detectors.structures import Targets
from detectors.weights.torchvision import load_weights

THEIRS = {
    "retinanet": torchvision_detection.retinanet_resnet50_fpn,
    "fcos": torchvision_detection.fcos_resnet50_fpn,
    "faster_rcnn": torchvision_detection.fasterrcnn_resnet50_fpn,
    "retinanet_v2": torchvision_detection.retinanet_resnet50_fpn_v2,
    "faster_rcnn_v2": torchvision_detection.fasterrcnn_resnet50_fpn_v2,
}


def _family(name: str) -> str:
    return name.removesuffix("_v2")


# torchvision counts a background that Faster R-CNN alone makes use of.
BACKGROUND = {"retinanet": 0, "fcos": 0, "faster_rcnn": 1}
ALL = 10**6
OURS_TAKE_ALL = {
    "faster_rcnn": [
        f"part.assigner.sampler.count={ALL}",
        "part.assigner.sampler.positive_fraction=1.0",
        f"part.head.sampler.count={ALL}",
        "part.head.sampler.positive_fraction=1.0",
    ]
}
# Makes random weights sure of some boxes, and of few enough that scores do not saturate and tie.
LOGIT_SCALE = {
    "retinanet": 0.3,
    "fcos": 0.03,
    "faster_rcnn": 0.1,
    "retinanet_v2": 0.03,
    "faster_rcnn_v2": 0.1,
}
# The detections that torchvision returns, where our papers say otherwise.
OURS_RETURN_AS_MANY = {"retinanet": ["part.postprocess.detections=300"]}


@pytest.fixture(autouse=True)
def _alike_on_every_processor() -> Iterator[None]:
    """oneDNN rounds otherwise on some processors: boxes then differ by up to 0.01 pixels."""
    with torch.backends.mkldnn.flags(enabled=False):
        yield


@pytest.fixture(
    scope="module",
    params=[pytest.param(f, marks=[pytest.mark.slow] * f.endswith("_v2")) for f in THEIRS],
)
def pair(request, tmp_path_factory) -> tuple[str, nn.Module, Detector]:
    """torchvision's model and ours, with the same random weights that detect something."""
    torch.manual_seed(1)
    name = request.param
    theirs = THEIRS[name](
        weights=None, weights_backbone=None, num_classes=91, min_size=160, max_size=288
    )
    _liven(theirs, LOGIT_SCALE[name])
    path = tmp_path_factory.mktemp("weights") / "theirs.pth"
    torch.save(theirs.state_dict(), path)
    overrides = OURS_TAKE_ALL.get(_family(name), []) + OURS_RETURN_AS_MANY.get(_family(name), [])
    classes = 91 - BACKGROUND[_family(name)]
    weights = f"torchvision:{path}"
    ours = detectors.build(name, num_classes=classes, weights=weights, overrides=overrides)
    return name, theirs.eval(), _taking_normalised(ours, theirs).eval()


def _taking_normalised(ours: Detector, theirs: nn.Module) -> Detector:
    """Ours for images that torchvision has normalised, once it is sure that ours would do the same.

    Of images that go through 0..255 and back logits differ by 1e-6. This decided which of two
    proposals was the 2000th of its level, so that ours had 1392 regions and torchvision 1393, by
    which Faster R-CNN's box loss is divided.
    """
    for own, value in (
        (ours.mean, theirs.transform.image_mean),
        (ours.std, theirs.transform.image_std),
    ):
        torch.testing.assert_close(own.flatten() / 255, torch.tensor(value))
    ours.mean.zero_()
    ours.std.fill_(1.0)
    return ours


def _liven(model: nn.Module, logit_scale: float) -> None:
    """Random weights whose scores and boxes vary, with batch norms that keep the scale."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            residual = name.startswith("backbone.body")
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, *((0.4, 0.6) if residual else (0.8, 1.0)))
    for name, parameter in model.named_parameters():
        if name.endswith(("cls_logits.weight", "bbox_ctrness.weight")):
            nn.init.normal_(parameter, std=logit_scale)
        elif name.endswith("cls_score.weight"):
            nn.init.normal_(parameter, std=2.0)
        elif name.endswith("cls_logits.bias"):
            nn.init.constant_(parameter, -2.0)
        elif name == "rpn.head.conv.1.0.weight":
            nn.init.normal_(parameter, std=0.1)  # else proposals are a grid, full of ties
        elif name.endswith(("bbox_reg.weight", "bbox_pred.weight")):
            nn.init.normal_(parameter, std=0.02)


@pytest.fixture(scope="module")
def pictures(data_root: Path) -> list[tuple[Tensor, dict[str, Tensor]]]:
    """Real images of several shapes as [3, H, W] in 0..1, with objects in torchvision's form.

    Small objects are left out: torchvision's FCOS compares areas as 1e8 minus the area in float32,
    so two that differ by less than eight square pixels are the same to it.
    """
    source = read_coco(
        data_root / "coco_tiny/annotations/instances_val2017.json",
        data_root / "coco_tiny/val2017",
    )
    packed = source.annotations
    chosen = []
    for index in (0, 5):
        rows = slice(packed.offsets[index], packed.offsets[index + 1])
        width, height = (packed.boxes[rows][:, 2:] - packed.boxes[rows][:, :2]).T
        objects = ~packed.crowd[rows] & (width * height > 1000)
        image = torch.from_numpy(source.image(index)).permute(2, 0, 1).float() / 255
        boxes = torch.from_numpy(packed.boxes[rows][objects]).float()
        labels = torch.from_numpy(packed.labels[rows][objects]) + 1
        chosen.append((image, {"boxes": boxes, "labels": labels}))
    return chosen


def _network_input(theirs: nn.Module, image: Tensor, objects: dict[str, Tensor]):
    """What torchvision feeds its network, as normalised images, frames and targets."""
    batch, (scaled,) = theirs.transform([image], [objects])
    height, width = batch.image_sizes[0]
    return batch.tensors, torch.tensor([[0.0, 0.0, width, height]]), scaled


def test_detections_are_torchvisions(pair, pictures) -> None:
    name, theirs, ours = pair
    found = 0
    for image, objects in pictures:
        with torch.no_grad():
            images, frame, _ = _network_input(theirs, image, objects)
            detections = ours(images, frame)
            (expected,) = theirs([image])
        height, width = image.shape[-2:]
        scale = torch.tensor([width, height]) / frame[0, 2:]
        boxes = detections.boxes[0][detections.valid[0]] * scale.repeat(2)
        scores = detections.scores[0][detections.valid[0]]
        labels = detections.labels[0][detections.valid[0]] + BACKGROUND[_family(name)]
        assert len(boxes) == len(expected["boxes"])
        # Scores that differ in the last bit may swap places, so each finds its like.
        alike = (
            ((boxes[:, None] - expected["boxes"]).abs().amax(-1) < 1e-3)
            & ((scores[:, None] - expected["scores"]).abs() < 1e-5)
            & (labels[:, None] == expected["labels"])
        )
        assert alike.any(0).all()
        assert alike.any(1).all()
        found += len(boxes)
    assert found >= 100


def test_losses_are_torchvisions(pair, pictures) -> None:
    name, theirs, ours = pair
    _take_all(theirs)
    theirs.train()
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eval()
    for image, objects in pictures:
        images, frame, scaled = _network_input(theirs, image, objects)
        with torch.no_grad():
            expected = theirs([image], [objects])
        rows = len(scaled["boxes"])
        targets = Targets(
            boxes=torch.cat([scaled["boxes"], torch.zeros(3, 4)])[None],
            labels=torch.cat([scaled["labels"] - BACKGROUND[_family(name)], torch.zeros(3).long()])[
                None
            ],
            valid=(torch.arange(rows + 3) < rows)[None],
            ignore=torch.zeros(1, rows + 3, dtype=torch.bool),
        )
        with torch.no_grad():
            losses = ours.loss(images, targets, frame)
        for term, of_theirs in TERMS[_family(name)].items():
            torch.testing.assert_close(losses[term], expected[of_theirs], rtol=1e-4, atol=0)
    theirs.eval()


TERMS = {
    "retinanet": {"class": "classification", "box": "bbox_regression"},
    "fcos": {"class": "classification", "box": "bbox_regression", "quality": "bbox_ctrness"},
    "faster_rcnn": {
        "proposal_class": "loss_objectness",
        "proposal_box": "loss_rpn_box_reg",
        "region_class": "loss_classifier",
        "region_box": "loss_box_reg",
    },
}


def _take_all(model: nn.Module) -> None:
    """No random sampling in torchvision's Faster R-CNN."""
    if hasattr(model, "rpn"):
        for sampler in (model.rpn.fg_bg_sampler, model.roi_heads.fg_bg_sampler):
            sampler.batch_size_per_image, sampler.positive_fraction = ALL, 1.0


def test_a_file_of_another_class_count_is_refused(tmp_path) -> None:
    theirs = THEIRS["fcos"](weights=None, weights_backbone=None, num_classes=3)
    torch.save(theirs.state_dict(), tmp_path / "three.pth")
    ours = detectors.build("fcos", num_classes=4)
    with pytest.raises(ValueError, match=r"head.tower.logits.weight is \(3.*expected \(4"):
        load_weights(ours, f"torchvision:{tmp_path / 'three.pth'}")
