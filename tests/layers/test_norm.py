from functools import partial

import pytest
import timm
import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

import detectors
from detectors.layers.activation import ThresholdedLinear
from detectors.layers.norm import (
    CrossMiniBatchNorm,
    FilterResponseNorm,
    FrozenBatchNorm,
    group_norm,
    replace_batch_norms,
)
from detectors.layers.progress import tell
from detectors.structures import Progress


def _at(mini_batch: int, mini_batches: int) -> Progress:
    return Progress(1, 0, 1, mini_batch=mini_batch, mini_batches=mini_batches)


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


def test_filter_response_norm_is_the_papers() -> None:
    """Singh and Krishnan 2020, eq. 1 to 3: 3 and 4 in two cells of two channels of one image."""
    layer, act = FilterResponseNorm(2), ThresholdedLinear(2)
    layer.weight.data = torch.tensor([2.0, 1.0])
    layer.bias.data = torch.tensor([-2.0, 0.5])
    act.threshold.data = torch.tensor([0.1, 1.5])
    x = [value / (12.5 + 1e-6) ** 0.5 for value in (3, 4)]
    expected = [[max(2 * value - 2, 0.1) for value in x], [max(value + 0.5, 1.5) for value in x]]
    found = act(layer(torch.tensor([3.0, 4.0]).expand(1, 2, 1, 2)))
    torch.testing.assert_close(found[0, :, 0], torch.tensor(expected))


def test_filter_response_norm_looks_at_no_other_image() -> None:
    layer, x = FilterResponseNorm(3), torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(layer(x)[1:2], layer(x[1:2]))


def _whole_and_parts(count: int = 4) -> tuple[torch.Tensor, list[torch.Tensor]]:
    whole = 3 * torch.randn(2 * count, 5, 6, 7) + 1
    return whole, list(whole.chunk(count))


def test_the_last_mini_batch_sees_the_statistics_of_one_big_batch() -> None:
    whole, parts = _whole_and_parts()
    ours, big = CrossMiniBatchNorm(5), nn.BatchNorm2d(5, momentum=0.01)
    for index, part in enumerate(parts):
        tell(ours, _at(index, len(parts)))
        found = ours(part)
    torch.testing.assert_close(found, big(whole)[-2:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.running_mean, big.running_mean)
    biased = 0.99 + 0.01 * whole.var((0, 2, 3), correction=0)
    torch.testing.assert_close(ours.running_var, biased)


def test_each_mini_batch_is_normalised_by_those_so_far_and_the_next_batch_begins_anew() -> None:
    whole, parts = _whole_and_parts()
    layer = CrossMiniBatchNorm(5)
    for _ in range(2):
        for index, part in enumerate(parts):
            tell(layer, _at(index, len(parts) + 1))
            seen = whole[: 2 * (index + 1)]
            big = nn.BatchNorm2d(5)(seen)
            torch.testing.assert_close(layer(part), big[-2:], rtol=1e-4, atol=1e-5)
    assert torch.equal(layer.running_mean, torch.zeros(5))  # no batch has come to its end


def test_gradients_come_from_the_own_mini_batch_alone() -> None:
    _, (first, second, *_) = _whole_and_parts()
    first.requires_grad_()
    second.requires_grad_()
    layer = CrossMiniBatchNorm(5)
    for index, part in enumerate((first, second)):
        tell(layer, _at(index, 2))
        output = layer(part)
    output.square().sum().backward()
    assert first.grad is None
    own, other = second.detach().clone().requires_grad_(), first.detach()
    mean = (own.mean((0, 2, 3)) + other.mean((0, 2, 3))) / 2
    square = (own.square().mean((0, 2, 3)) + other.square().mean((0, 2, 3))) / 2
    scale = (square - mean.square() + 1e-5).rsqrt()
    output = (own - mean.view(-1, 1, 1)) * scale.view(-1, 1, 1)
    output.square().sum().backward()
    torch.testing.assert_close(second.grad, own.grad, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("trick", "kind"),
    [("frn", FilterResponseNorm), ("cmbn", CrossMiniBatchNorm), ("group_norm", nn.GroupNorm)],
)
def test_a_trick_replaces_every_batch_norm(trick: str, kind: type) -> None:
    with torch.device("meta"):
        plain, changed = (
            detectors.build("retinanet", ["size=small", f"trick={word}"])
            for word in ("[]", f"[{trick}]")
        )
    count = sum(isinstance(layer, nn.BatchNorm2d) for layer in plain.modules())
    assert sum(isinstance(layer, kind) for layer in changed.modules()) == count > 0
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in changed.modules())


def test_group_norm_takes_a_picture_of_one_pixel_as_it_takes_two() -> None:
    norm = group_norm(32)
    nn.init.normal_(norm.bias)
    pictures = torch.randn(2, 32, 1, 1)
    alone = torch.cat([norm(pictures[:1]), norm(pictures[1:])])
    assert torch.equal(alone, norm(pictures))
    torch.testing.assert_close(alone[0, :, 0, 0], norm.bias, rtol=0, atol=1e-4)
    large = torch.randn(2, 32, 5, 7)
    assert torch.equal(norm(large), nn.functional.group_norm(large, 32, norm.weight, norm.bias))
