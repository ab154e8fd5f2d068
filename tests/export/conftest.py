"""Small detectors whose scores are spread, each exported to ONNX once."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.data.augment.transforms import Stretch
from detectors.detector import Detector
from detectors.export.description import Description, texts
from detectors.export.network import ExportedNetwork
from detectors.export.running import OnnxDetector
from detectors.export.writing import as_onnx
from detectors.structures import FeatureSpec

SIDE = 96
CLASSES = tuple("abcde")
WORDS = {
    "centernet": ["backbone=darknet_thin", "part.neck.channels=16"],
    "faster_rcnn": [
        "backbone=darknet_thin",
        "part.neck.channels=16",
        "+part.head.region_head.width=16",
        "part.head.test_proposals.per_level=100",
        "part.head.test_proposals.detections=100",
    ],
}


class Made(NamedTuple):
    """A network and its ONNX file."""

    network: ExportedNetwork
    content: bytes
    file: OnnxDetector


class Patches(nn.Module):
    """A backbone of one convolution a level, because each layer takes its time to export."""

    def __init__(self, specs: list[FeatureSpec]) -> None:
        super().__init__()
        self.specs = specs
        self.levels = nn.ModuleList(
            nn.Conv2d(3, spec.channels, spec.stride, spec.stride) for spec in specs
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        return [torch.tanh(level(images)) for level in self.levels]


def lively(
    family: str, words: Sequence[str] = (), classes: int = len(CLASSES), patches: bool = True
) -> Detector:
    """A detector with random weights whose logits are spread as those of a trained one."""
    torch.manual_seed(0)
    words = ["size=small", *WORDS.get(family, []), *words]
    detector = detectors.build(family, words, num_classes=classes, image_size=SIDE).eval()
    if patches:
        detector.backbone = Patches(detector.backbone.specs)
    draw(detector, gain=1 if patches else 2)  # each rectifier takes half of the variance
    return detector


def draw(network: nn.Module, gain: float) -> None:
    """Weights of variance `gain` over the numbers that they sum, and no biases."""
    for name, parameter in network.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=(gain / parameter[0].numel()) ** 0.5)
        elif name.endswith("bias"):
            torch.nn.init.zeros_(parameter)


def description(suppression: bool = True) -> Description:
    return Description(CLASSES, tuple(range(1, 6)), Stretch(SIDE), suppression, 32)


@pytest.fixture(scope="session")
def made() -> Callable[[str], Made]:
    @cache
    def by_family(family: str) -> Made:
        network = ExportedNetwork(lively(family), suppression=True).eval()
        content = as_onnx(network, (SIDE, SIDE), texts(description()))
        return Made(network, content, OnnxDetector(content, threads=1))

    return by_family
