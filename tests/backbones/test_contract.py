"""Every backbone of `conf/backbone` keeps the contract."""

from typing import Any

import pytest
import torch
import yaml
from hydra.utils import instantiate
from omegaconf import DictConfig, open_dict
from torch import nn

from detectors.config.compose import compose
from detectors.config.paths import CONF
from detectors.layers.progress import tell
from tests.examples import START, files
from tests.shapes import shapes_only

FILES = {path.stem: path.read_text() for path in files("backbone")}
CHOICES = list(FILES)
OWN = [c for c, text in FILES.items() if yaml.safe_load(text).keys() != {"defaults"}]  # no alias
# Of the parts of smaller ones.
LARGE = {c for c in CHOICES if c.endswith("_full")} | {"csp_darknet53", "darknet53", "resnet101"}
LARGE |= {"darknet19", "extraction", "resnet50"}
LARGE |= {"cspdensenet", "cspresnext50", "densenet121", "inception_v3", "resnest50d"}
# One layer after the other, or of the blocks of another one.
TRACED_ALIKE = {"caffenet", "csp_darknet_thin", "darknet19_thin", "extraction_thin"}
TRACED_ALIKE |= {"fire_hourglass_small", "tiny_darknet_small", "vgg_m", "vgg_plain_small"}
TRACED_ALIKE |= {"csp_focus_small", "resnet18", "vgg_small"}  # in a family of tests/test_models.py
THEIRS = {"efficientnet_b0", "efficientnet_small", "mobilenetv3", "tf_efficientnet"}  # of timm


def _built(choice: str, norm: str = "batch") -> nn.Module:
    return instantiate(_node(choice, norm), _convert_="all")


def _node(choice: str, norm: str = "batch") -> DictConfig:
    words = [f"backbone={choice}", f"norm={norm}", "act=leaky", "part.levels=[8,16,32]"]
    node = compose(words).part.backbone
    with open_dict(node):
        del node.weights  # a file, which is not read here
    return node


def backbones(slow: set[str]) -> list[Any]:
    return [pytest.param(c, marks=[pytest.mark.slow] * (c in slow)) for c in OWN]


@pytest.fixture(scope="module", params=backbones(LARGE))
def backbone(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return _built(request.param)


def pictures(backbone: nn.Module, count: int, height: int, width: int) -> torch.Tensor:
    """Random ones; of less than 75 pixels an Inception without padding leaves nothing."""
    grow = 2 if hasattr(getattr(backbone, "body", None), "Conv2d_1a_3x3") else 1
    return torch.randn(count, 3, grow * height, grow * width)


@pytest.mark.parametrize("choice", CHOICES)
def test_levels_are_those_asked_for(choice: str) -> None:
    """Where a network has a choice of levels at all."""
    node = _node(choice)
    with shapes_only():
        specs = instantiate(node, _convert_="all").specs
    if "strides" in node:
        assert [spec.stride for spec in specs] == list(node.strides)


def test_specs_promise_what_is_delivered(backbone: nn.Module) -> None:
    images = pictures(backbone, 1, 72, 104)
    height, width = images.shape[-2:]
    for spec, feature in zip(backbone.specs, backbone.eval()(images), strict=True):
        size = (-(-height // spec.stride), -(-width // spec.stride))
        assert feature.shape == (1, spec.channels, *size)


def test_every_parameter_learns_in_bfloat16(backbone: nn.Module) -> None:
    images = pictures(backbone, 2, 64, 96).to(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        features = backbone.train()(images)
    assert all(feature.dtype == torch.bfloat16 for feature in features)
    sum(feature.float().square().mean() for feature in features).backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())
    assert all(parameter.grad.isfinite().all() for parameter in backbone.parameters())
    backbone.zero_grad()


@pytest.mark.parametrize("backbone", backbones(LARGE | TRACED_ALIKE | THEIRS), indirect=True)
def test_is_one_graph(backbone: nn.Module) -> None:
    images = pictures(backbone, 1, 64, 64)
    torch._dynamo.reset()
    compiled = torch.compile(backbone.eval(), fullgraph=True, backend="eager")
    for found, expected in zip(compiled(images), backbone(images), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("norm", sorted(path.stem for path in (CONF / "norm").glob("*.yaml")))
@pytest.mark.parametrize("choice", ["resnet18", "darknet53"])
def test_every_norm_fits(choice: str, norm: str) -> None:
    with torch.device("meta"):
        backbone = _built(choice, norm)
        tell(backbone, START)
        assert len(backbone(torch.empty(1, 3, 64, 64))) == 3
