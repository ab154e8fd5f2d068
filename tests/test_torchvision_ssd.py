"""With the same weights our SSD300 is torchvision's."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import ssd300_vgg16
from torchvision.ops import box_iou

import detectors
from detectors.data.sources.coco import read_coco
from detectors.detector import Detector
from detectors.structures import Targets
from detectors.weights.torchvision import load_weights

Objects = dict[str, Tensor]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Detector]:
    """torchvision's model and ours, with the same random weights that detect something."""
    torch.manual_seed(1)
    theirs = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=91)
    for name, parameter in theirs.named_parameters():
        if name.startswith("head.regression_head"):
            parameter.data /= 20  # no side grows without bounds
        elif name.endswith(("bias", "scale_weight")):
            parameter.data += 0.1 * torch.randn_like(parameter)
    path = tmp_path_factory.mktemp("weights") / "theirs.pth"
    torch.save(theirs.state_dict(), path)
    ours = detectors.build("ssd300", num_classes=90, overrides=["assigner=best_prior"])
    load_weights(ours, f"torchvision:{path}")
    return theirs.eval(), ours.eval()


@pytest.fixture(scope="module")
def pictures(
    data_root: Path, pair: tuple[nn.Module, Detector]
) -> tuple[list[Tensor], list[Objects]]:
    """Real images of several shapes as [3, H, W] in 0..1, with objects in torchvision's form.

    Left out are objects that two default boxes fit best: a small one lies wholly inside several
    boxes of one size, and which is chosen is a matter of the last bit.
    """
    source = read_coco(
        data_root / "coco_tiny/annotations/instances_val2017.json",
        data_root / "coco_tiny/val2017",
    )
    packed = source.annotations
    images, objects = [], []
    for index in (0, 5):
        rows = slice(packed.offsets[index], packed.offsets[index + 1])
        kept = ~packed.crowd[rows]
        images.append(torch.from_numpy(source.image(index)).permute(2, 0, 1).float() / 255)
        boxes = torch.from_numpy(packed.boxes[rows][kept]).float()
        labels = torch.from_numpy(packed.labels[rows][kept]) + 1
        objects.append({"boxes": boxes, "labels": labels})
    for one, scaled in zip(objects, pair[0].transform(images, objects)[1], strict=True):
        best = box_iou(scaled["boxes"], _default_boxes(pair[0])).topk(2, dim=1).values
        clear = best[:, 0] - best[:, 1] > 1e-4
        one.update(boxes=one["boxes"][clear], labels=one["labels"][clear])
    assert all(len(one["labels"]) for one in objects)
    return images, objects


def _default_boxes(theirs: nn.Module) -> Tensor:
    """torchvision's priors at 300 x 300, [8732, 4]."""
    batch, _ = theirs.transform([torch.zeros(3, 300, 300)])
    levels = [torch.zeros(1, 1, size, size) for size in (38, 19, 10, 5, 3, 1)]
    return theirs.anchor_generator(batch, levels)[0]


def _network_input(
    pair: tuple[nn.Module, Detector], images: list[Tensor], objects: list[Objects]
) -> tuple[Tensor, list[Objects]]:
    """What torchvision feeds its network, as our images, and its targets."""
    theirs, ours = pair
    batch, scaled = theirs.transform(images, objects)
    return batch.tensors + ours.mean, scaled


def test_default_boxes_are_torchvisions(pair: tuple[nn.Module, Detector]) -> None:
    theirs, ours = pair
    with torch.no_grad():
        features = ours.neck(ours.backbone(torch.zeros(1, 3, 300, 300)))
    found = ours.head.priors(features, ours.neck.specs)
    assert found.level_sizes == (5776, 2166, 600, 150, 36, 4)
    torch.testing.assert_close(found.boxes[0], _default_boxes(theirs), rtol=0, atol=1e-4)


def test_detections_are_torchvisions(
    pair: tuple[nn.Module, Detector], pictures: tuple[list[Tensor], list[Objects]]
) -> None:
    theirs, ours = pair
    images, objects = pictures
    with torch.no_grad():
        network_input, _ = _network_input(pair, images, objects)
        detections = ours(network_input)
        expected = theirs(images)
    for image, boxes, scores, labels, valid, wanted in zip(
        images, *detections, expected, strict=True
    ):
        scale = torch.tensor([image.shape[2], image.shape[1]]) / 300
        found = boxes[valid] * scale.repeat(2)
        assert len(found) == len(wanted["boxes"]) == 200
        # Scores that differ in the last bit may swap places, so each finds its like.
        alike = (
            ((found[:, None] - wanted["boxes"]).abs().amax(-1) < 1e-3)
            & ((scores[valid][:, None] - wanted["scores"]).abs() < 1e-5)
            & (labels[valid][:, None] + 1 == wanted["labels"])
        )
        assert alike.any(0).all()
        assert alike.any(1).all()


def test_losses_are_torchvisions(
    pair: tuple[nn.Module, Detector], pictures: tuple[list[Tensor], list[Objects]]
) -> None:
    """Of a batch, for the normaliser is the batch's and the hard negatives are each image's."""
    theirs, ours = pair
    images, objects = pictures
    network_input, scaled = _network_input(pair, images, objects)
    rows = max(len(one["labels"]) for one in scaled) + 3
    targets = Targets(
        boxes=torch.zeros(len(images), rows, 4),
        labels=torch.zeros(len(images), rows, dtype=torch.int64),
        valid=torch.zeros(len(images), rows, dtype=torch.bool),
        ignore=torch.zeros(len(images), rows, dtype=torch.bool),
    )
    for index, one in enumerate(scaled):
        count = len(one["labels"])
        targets.boxes[index, :count] = one["boxes"]
        targets.labels[index, :count] = one["labels"] - 1
        targets.valid[index, :count] = True
    with torch.no_grad():
        losses = ours.loss(network_input, targets)
        expected = theirs.train()(images, objects)
    theirs.eval()
    torch.testing.assert_close(losses["class"], expected["classification"], rtol=1e-4, atol=0)
    torch.testing.assert_close(losses["box"], expected["bbox_regression"], rtol=1e-4, atol=0)
