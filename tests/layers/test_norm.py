from functools import partial

import pytest
import timm
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from detectors.layers.norm import FrozenBatchNorm, replace_batch_norms


def _random_statistics(network: nn.Module) -> nn.Module:
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean)
            nn.init.uniform_(layer.running_var, 0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 2)
            nn.init.normal_(layer.bias)
    return network


def test_frozen_norm_equals_torchvisions() -> None:
    ours, theirs = FrozenBatchNorm(8), FrozenBatchNorm2d(8)
    theirs.load_state_dict({key: torch.rand(8) + 0.5 for key in theirs.state_dict()})
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 8, 5, 7)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-5, atol=1e-5)  # another order of sums


def test_frozen_norm_never_changes_and_keeps_bfloat16() -> None:
    layer = FrozenBatchNorm(8).train()
    before = {key: value.clone() for key, value in layer.state_dict().items()}
    assert layer(torch.randn(2, 8, 5, 7, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert not list(layer.parameters())
    assert all(torch.equal(value, before[key]) for key, value in layer.state_dict().items())


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050", "tf_efficientnet_b0"])
def test_replacing_batch_norms_by_frozen_ones_changes_no_output(name: str) -> None:
    network = _random_statistics(timm.create_model(name)).eval()
    x = torch.randn(1, 3, 64, 64)
    expected = network(x)
    replace_batch_norms(network, FrozenBatchNorm)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    torch.testing.assert_close(network(x), expected)


def test_replacement_takes_over_eps_and_whether_it_learns_but_not_momentum() -> None:
    old = nn.Sequential(nn.BatchNorm2d(4, eps=1e-3, momentum=0.3).requires_grad_(False))
    replace_batch_norms(old, partial(nn.BatchNorm2d, momentum=0.01))
    assert (old[0].eps, old[0].momentum, old[0].weight.requires_grad) == (1e-3, 0.01, False)


def test_eps_that_the_new_norm_sets_stands() -> None:
    network = nn.Sequential(nn.BatchNorm2d(4))
    replace_batch_norms(network, partial(FrozenBatchNorm, eps=0.0))
    assert network[0].eps == 0.0


def test_norms_of_another_kind_take_over_the_affine_terms() -> None:
    network = _random_statistics(nn.Sequential(nn.BatchNorm2d(4)))
    weight = network[0].weight.clone()
    replace_batch_norms(network, partial(nn.GroupNorm, 2))
    assert isinstance(network[0], nn.GroupNorm)
    assert torch.equal(network[0].weight, weight)
