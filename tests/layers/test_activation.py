"""Activations follow their formulas, and a trick replaces all of a network's."""

from collections.abc import Callable
from functools import partial
from math import exp, log, tanh

import pytest
import timm
import torch
from hydra.utils import instantiate
from torch import nn

import detectors
from detectors.config.compose import compose
from detectors.layers.activation import ChannelPReLU, ThresholdedLinear, replace_activations
from detectors.layers.conv import activation


def _relu6(x: float) -> float:
    return min(max(x, 0.0), 6.0)


FORMULAS: dict[str, Callable[[float], float]] = {
    "mish": lambda x: x * tanh(log(1 + exp(x))),
    "swish": lambda x: x / (1 + exp(-x)),
    "relu6": _relu6,
    "prelu": lambda x: x if x > 0 else 0.25 * x,
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * (exp(x) - 1)),
    "hard_swish": lambda x: x * _relu6(x + 3) / 6,
    "leaky": lambda x: x if x > 0 else 0.1 * x,
}


@pytest.mark.parametrize("trick", FORMULAS)
def test_formulas_are_the_papers(trick: str) -> None:
    act = activation(instantiate(compose([f"trick=[{trick}]"]).part.act), 1)
    values = [-7.0, -2.5, -0.3, 0.0, 0.4, 3.0, 8.0]
    expected = torch.tensor([FORMULAS[trick](value) for value in values])
    torch.testing.assert_close(act(torch.tensor(values)[:, None])[:, 0], expected)


@pytest.mark.parametrize("family", ["retinanet", "yolov4", "ssd300", "centernet_dla"])
def test_a_trick_changes_every_activation_of_backbone_neck_and_tower(family: str) -> None:
    with torch.device("meta"):
        plain, changed = (
            detectors.build(family, ["size=small", f"trick={trick}"]) for trick in ("[]", "[prelu]")
        )
    kinds = (nn.ReLU, nn.LeakyReLU, nn.Mish)
    before = sum(isinstance(layer, kinds) for layer in plain.modules())
    slopes = [layer for layer in changed.modules() if isinstance(layer, nn.PReLU)]
    assert len(slopes) == before > 0  # each a module of its own, so that each learns its slope
    assert not any(isinstance(layer, kinds) for layer in changed.modules())


def test_replacing_activations_by_their_like_changes_no_output() -> None:
    network = timm.create_model("resnet18").eval()
    x = torch.randn(1, 3, 32, 32)
    expected = network(x)
    replace_activations(network, nn.ReLU)
    assert torch.equal(network(x), expected)


def test_gates_stay() -> None:
    network = timm.create_model("efficientnet_b0")
    sigmoids = sum(isinstance(layer, nn.Sigmoid) for layer in network.modules())
    replace_activations(network, nn.Mish)
    assert sum(isinstance(layer, nn.Sigmoid) for layer in network.modules()) == sigmoids > 0
    assert not any(isinstance(layer, nn.SiLU) for layer in network.modules())


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "mobilenetv3_large_100", "efficientnet_b0"]
)
def test_what_each_channel_learns_is_as_wide_as_its_map(name: str) -> None:
    network = timm.create_model(name)
    replace_activations(network, ThresholdedLinear)
    seen = []

    def record(layer: ThresholdedLinear, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        seen.append((len(layer.threshold), inputs[0].shape[1]))

    for layer in network.modules():
        if isinstance(layer, ThresholdedLinear):
            layer.register_forward_hook(record)
    network.eval()(torch.randn(1, 3, 64, 64))
    assert seen
    assert all(learnt == channels for learnt, channels in seen)


def test_a_network_without_activations_is_refused() -> None:
    with pytest.raises(ValueError, match="Conv2d has no activation"):
        replace_activations(nn.Conv2d(1, 1, 1), nn.ReLU)


@pytest.mark.parametrize("trick", sorted({*FORMULAS} - {"leaky"}))  # darknet has that one
def test_a_deep_stack_keeps_its_signal(trick: str) -> None:
    """The weights of darknet fit every activation where a norm follows each convolution."""
    backbone = detectors.build("yolov3", ["size=small", f"trick=[{trick}]"]).backbone.train()
    coarsest = backbone(torch.randn(2, 3, 64, 64))[-1]
    assert 0.2 < coarsest.std() < 5


def test_an_activation_that_declares_it_gets_the_channels_and_no_other() -> None:
    assert activation(partial(ChannelPReLU, init=0.1), 5).weight.tolist() == pytest.approx(
        [0.1] * 5
    )
    assert len(activation(nn.PReLU, 5).weight) == 1  # torch's own learns one slope
