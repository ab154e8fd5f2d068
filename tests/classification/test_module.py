"""The classifier's parameters, its loss and its accuracies."""

import math

import pytest
import torch
from torch import Tensor, nn

from detectors.classification.classifier import Classifier
from detectors.classification.module import LitClassifier, _accuracies
from detectors.config.compose import compose
from detectors.optim import build_optimizer, constant
from detectors.structures import FeatureSpec
from detectors.weights.initial import initial_model
from tests.examples import files
from tests.shapes import shapes_only


@pytest.mark.parametrize(
    ("backbone", "parameters"),
    [
        ("darknet19", 20_842_376),  # cfg/darknet19.cfg
        ("darknet53", 41_609_928),  # cfg/darknet53.cfg
        ("csp_darknet53", 27_642_184),  # cfg/csdarknet53-omega.cfg
        ("extraction", 23_437_224),  # cfg/extraction.cfg: the first 20 convolutions
        ("resnet18", 11_689_512),  # torchvision's
    ],
)
def test_classifier_has_the_published_parameters(backbone: str, parameters: int) -> None:
    cfg = compose([f"backbone={backbone}", "data.num_classes=1000"], "pretrain")
    with torch.device("meta"):
        classifier = initial_model(cfg)
    assert sum(parameter.numel() for parameter in classifier.parameters()) == parameters


@pytest.mark.parametrize("backbone", [file.stem for file in files("backbone")])
def test_every_backbone_can_be_a_classifier(backbone: str) -> None:
    cfg = compose([f"backbone={backbone}", "data.num_classes=7"], "pretrain")
    with shapes_only():
        assert initial_model(cfg)(torch.empty(2, 3, 96, 96)).shape == (2, 7)


class Plane(nn.Module):
    """The image itself as two levels."""

    def __init__(self) -> None:
        super().__init__()
        self.specs = [FeatureSpec(3, 1), FeatureSpec(3, 2)]

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images, images[..., ::2, ::2]]


def made(**settings: object) -> LitClassifier:
    classifier = Classifier(Plane(), 3, mean=[10.0, 20.0, 30.0], std=[2.0, 2.0, 2.0])
    return LitClassifier(classifier, build_optimizer, constant, **settings)


def test_logits_are_of_the_mean_of_the_coarsest_level() -> None:
    classifier = made().classifier
    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    level = (images[..., ::2, ::2].double() - torch.tensor([10, 20, 30]).view(3, 1, 1)) / 2
    weight, bias = classifier.logits.weight[..., 0, 0].double(), classifier.logits.bias.double()
    torch.testing.assert_close(
        classifier(images), (level.mean(dim=(2, 3)) @ weight.T + bias).float()
    )


def test_label_smoothing_by_hand() -> None:
    """Each of C classes has e / C of the target, the right one 1 - e more."""
    module = made(label_smoothing=0.3)
    images, labels = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8), [2, 0]
    found = module._loss(images, torch.eye(3)[labels])
    expected = 0.0
    for row, label in zip(module.classifier(images).tolist(), labels, strict=True):
        total = math.log(sum(math.exp(logit) for logit in row))
        for k, logit in enumerate(row):
            expected += (0.3 / 3 + (0.7 if k == label else 0)) * (total - logit) / 2
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_accuracies_by_hand() -> None:
    logits = torch.tensor([[7.0, 6, 5, 4, 3, 2, 1]]).repeat(4, 1)
    metric = _accuracies(7)
    metric.update(logits, torch.tensor([0, 4, 5, 6]))
    assert {name: float(v) for name, v in metric.compute().items()} == {
        "val/top1": 0.25,
        "val/top5": 0.5,
    }


def test_the_right_one_of_three_classes_is_always_among_the_first_five() -> None:
    metric = _accuracies(3)
    metric.update(torch.randn(8, 3), torch.randint(0, 3, (8,)))
    assert metric.compute()["val/top5"] == 1
