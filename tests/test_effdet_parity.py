"""With the same weights our EfficientDets are those of effdet, the port of Google's release."""

import warnings
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.detector import Detector
from detectors.structures import Predictions
from tests.examples import targets

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch.jit, which it uses, is deprecated
    effdet = pytest.importorskip(
        "effdet",
        reason="effdet is not installed, so our EfficientDets are not compared with it: "
        "pip install 'lightning-detectors[oracles]'",
    )
    from effdet.anchors import AnchorLabeler, Anchors, generate_detections
    from effdet.loss import DetectionLoss

CLASSES, SIDE, COARSER = 4, 128, 256  # pixels; D7x alone has a level of stride 256
SIZES = ["d0", *(pytest.param(size, marks=pytest.mark.slow) for size in ("d4", "d6", "d7", "d7x"))]
OBJECTS = targets(
    [(0, 20.5, 31.25, 90.75, 71.5), (2, 13.125, 20.5, 110.25, 120.875), (3, 60.5, 8.5, 68.5, 21)],
    [(1, 30.5, 35.25, 90.75, 75.5), (1, 31.5, 36.5, 92.25, 74.5)],
)


class Pair(NamedTuple):
    """Both networks, the same random weights in them, and what they predict of two images."""

    side: int  # of the images in pixels
    config: Any  # of effdet
    theirs: tuple[list[Tensor], list[Tensor]]  # logits and deltas, a map for each level
    ours: Detector
    predictions: Predictions

    def rows(self, maps: list[Tensor], width: int) -> Tensor:
        """Of all levels, [B, N, width], cell by cell and anchor by anchor."""
        return torch.cat([m.permute(0, 2, 3, 1).reshape(len(m), -1, width) for m in maps], 1)


@pytest.fixture(scope="module", params=SIZES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    torch.manual_seed(0)
    config = effdet.get_efficientdet_config(f"tf_efficientdet_{request.param}")
    side = COARSER if config.max_level == 8 else SIDE
    config.update({"image_size": (side, side), "num_classes": CLASSES})
    theirs = lively(effdet.EfficientDet(config, pretrained_backbone=False)).eval()
    images = torch.randint(0, 256, (2, 3, side, side)).float()
    spread_out(theirs, images / 255)
    file = tmp_path_factory.mktemp("weights") / "theirs.pth"
    torch.save(theirs.state_dict(), file)
    words = ["part.postprocess.per_level=100000"]
    ours = detectors.build(
        f"efficientdet_{request.param}", words, num_classes=CLASSES, weights=f"effdet:{file}"
    ).eval()
    with torch.no_grad():
        predicted = theirs((images - ours.mean) / ours.std)
        return Pair(side, config, predicted, ours, ours.head(ours.features(images), torch.empty(0)))


def lively(network: nn.Module) -> nn.Module:
    """Weights with which logits and deltas vary, and no two norms, biases or edges are alike."""
    for name, layer in network.named_modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
            nn.init.uniform_(layer.weight, 0.8, 1.2)
            nn.init.uniform_(layer.bias, -0.1, 0.1)
        elif isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.normal_(layer.bias, -1.0 if name.startswith("class_net.predict") else 0.0, 0.1)
    for name, parameter in network.named_parameters():
        if name.endswith("edge_weights"):
            nn.init.uniform_(parameter, -0.2, 1.5)  # a negative one counts as none
    return network


@torch.no_grad()
def spread_out(network: nn.Module, images: Tensor) -> None:
    """Scale what predicts, so that logits and deltas have a deviation of about one."""
    for net, maps in zip((network.class_net, network.box_net), network(images), strict=True):
        net.predict.conv_pw.weight /= torch.cat([level.flatten() for level in maps]).std()


def test_predictions_are_effdets(pair: Pair) -> None:
    logits, deltas = (pair.rows(maps, n) for maps, n in zip(pair.theirs, (CLASSES, 4), strict=True))
    assert logits.std() > 0.3
    assert deltas.std() > 0.3
    torch.testing.assert_close(pair.predictions.logits, logits, rtol=0, atol=1e-4)
    torch.testing.assert_close(
        pair.predictions.deltas, deltas[..., [1, 0, 3, 2]], rtol=0, atol=1e-4
    )


def test_anchors_are_effdets(pair: Pair) -> None:
    expected = Anchors.from_config(pair.config).boxes[None, :, [1, 0, 3, 2]]
    torch.testing.assert_close(pair.predictions.priors.boxes, expected, rtol=0, atol=1e-3)


def test_losses_are_effdets(pair: Pair) -> None:
    """No coordinate of a target is zero here: those effdet leaves out, ours count."""
    labeler = AnchorLabeler(Anchors.from_config(pair.config), CLASSES, match_threshold=0.5)
    boxes = [b[v][:, [1, 0, 3, 2]] for b, v in zip(OBJECTS.boxes, OBJECTS.valid, strict=True)]
    labels = [own[v] + 1.0 for own, v in zip(OBJECTS.labels, OBJECTS.valid, strict=True)]
    assigned = labeler.batch_label_anchors(boxes, labels)
    assert assigned[2].min() > 1
    _, classes, box = DetectionLoss(pair.config)(*pair.theirs, *assigned)
    found = pair.ours.head.loss(pair.predictions, OBJECTS)
    torch.testing.assert_close(found["class"], classes)
    torch.testing.assert_close(found["box"], 50 * box)


def test_without_objects_losses_are_effdets(pair: Pair) -> None:
    labeler = AnchorLabeler(Anchors.from_config(pair.config), CLASSES, match_threshold=0.5)
    nothing = [torch.zeros(0, 4)] * 2, [torch.zeros(0)] * 2
    _, classes, box = DetectionLoss(pair.config)(
        *pair.theirs, *labeler.batch_label_anchors(*nothing)
    )
    found = pair.ours.head.loss(pair.predictions, targets([], []))
    torch.testing.assert_close(found["class"], classes)
    assert found["box"] == box == 0


def test_detections_are_effdets(pair: Pair) -> None:
    """Where both see all pairs; theirs takes the best 5000 of all levels, ours some of each."""
    frames = torch.tensor([[0.0, 0.0, pair.side, pair.side]] * 2)
    found = pair.ours.postprocess(pair.ours.head.detect(pair.predictions), frames)
    anchors = Anchors.from_config(pair.config).boxes
    logits, deltas = (pair.rows(maps, n) for maps, n in zip(pair.theirs, (CLASSES, 4), strict=True))
    for image in range(2):
        flat, order = logits[image].flatten().sort(descending=True, stable=True)
        prior = order // CLASSES
        size = torch.tensor([pair.side, pair.side]).float()
        expected = generate_detections(
            flat[:, None],
            deltas[image][prior],
            anchors,
            prior,
            order % CLASSES,
            torch.ones(1),
            size,
        )
        torch.testing.assert_close(found.scores[image], expected[:, 4], rtol=0, atol=1e-4)
        torch.testing.assert_close(found.boxes[image], expected[:, :4], rtol=0, atol=0.02)
        assert torch.equal(found.labels[image], expected[:, 5].long() - 1)
