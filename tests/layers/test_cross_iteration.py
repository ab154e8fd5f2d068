"""CBN against means over several batches, and against slopes by finite differences."""

import pytest
import torch
from torch import nn

from detectors.layers.cross_iteration import CrossIterationNorm, kernel_before


def network(conv: nn.Module, window: int = 3) -> nn.Sequential:
    """The convolution and its norm."""
    return nn.Sequential(conv, CrossIterationNorm(conv.out_channels, window=window))


CONVS = {
    "plain": lambda: nn.Conv2d(3, 5, 3, padding=1, bias=False),
    "grouped": lambda: nn.Conv2d(4, 8, 3, groups=2, bias=False),
    "transposed": lambda: nn.ConvTranspose2d(3, 5, 4, 2, bias=False),
}


def batches(conv: nn.Module, count: int) -> list[torch.Tensor]:
    return [torch.randn(2, conv.in_channels, 8, 8) + k for k in range(count)]


@pytest.mark.parametrize("name", CONVS)
def test_under_the_same_weights_it_is_batch_norm_over_the_window(name: str) -> None:
    conv = CONVS[name]()
    made, given = network(conv), batches(conv, 5)
    found = [made(x) for x in given]
    for step, output in enumerate(found):
        window = given[max(step - 2, 0) : step + 1]
        maps = conv(torch.cat(window)).transpose(0, 1).flatten(1)
        scale = (maps.var(1, unbiased=False) + 1e-5).rsqrt()
        expected = (conv(given[step]) - maps.mean(1).view(-1, 1, 1)) * scale.view(-1, 1, 1)
        torch.testing.assert_close(output, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", CONVS)
def test_earlier_statistics_are_those_of_the_present_weights(name: str) -> None:
    """Means exactly, mean squares to first order: the error falls with the square of the step."""
    errors = []
    for step in (0.1, 0.01):
        torch.manual_seed(0)
        conv = CONVS[name]()
        made, (first, second) = network(conv, window=2), batches(conv, 2)
        made(first)
        conv.weight.data += step * torch.randn_like(conv.weight)
        made[1].momentum = 1.0
        made(second)
        maps = [conv(x).transpose(0, 1).flatten(1) for x in (first, second)]
        mean = sum(m.mean(1) for m in maps) / 2
        square = sum(m.square().mean(1) for m in maps) / 2
        torch.testing.assert_close(made[1].running_mean, mean.detach(), rtol=1e-4, atol=1e-5)
        errors.append((made[1].running_var - (square - mean.square())).abs().max().item())
    assert errors[0] > 1e-3
    assert errors[1] < errors[0] / 30


def test_the_present_batch_alone_carries_a_gradient() -> None:
    conv = CONVS["plain"]()
    made, (first, second) = network(conv), batches(conv, 2)
    first.requires_grad_(), second.requires_grad_()
    made(first)
    made(second).square().sum().backward()
    assert first.grad is None
    assert second.grad is not None
    assert conv.weight.grad is not None


def test_evaluation_uses_running_statistics_and_keeps_the_window() -> None:
    conv = CONVS["plain"]()
    made, (first, second) = network(conv), batches(conv, 2)
    made(first)
    window = made[1].past
    norm = made[1]
    expected = nn.functional.batch_norm(
        conv(second), norm.running_mean, norm.running_var, norm.weight, norm.bias
    )
    torch.testing.assert_close(made.eval()(second), expected)
    assert norm.past is window


def test_without_a_convolution_it_is_batch_norm_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    norm, plain = CrossIterationNorm(3), nn.BatchNorm2d(3)
    for _ in range(3):
        x = torch.randn(2, 3, 4, 4)
        torch.testing.assert_close(norm(x), plain(x), rtol=1e-4, atol=1e-4)
    assert caplog.text.count("a norm of 3 channels has no convolution") == 1


@pytest.mark.parametrize("autocast", [False, True])
def test_the_kernel_before_is_read_from_the_graph(autocast: bool) -> None:
    x = torch.randn(1, 4, 8, 8)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        for conv in (nn.Conv2d(4, 5, 3, bias=False), nn.ConvTranspose2d(4, 5, 3, bias=False)):
            found = kernel_before(conv(x))
            assert found is not None
            assert found.weight is conv.weight
            assert found.transposed == isinstance(conv, nn.ConvTranspose2d)
            assert kernel_before(conv(x).relu()) is None
            assert kernel_before(conv.requires_grad_(False)(x.requires_grad_())) is None
        biased = nn.Conv2d(4, 5, 3)
        biased.bias.requires_grad_(False)
        for conv in (biased, nn.ConvTranspose2d(4, 4, 3, groups=2, bias=False)):
            assert kernel_before(conv(x)) is None
    assert kernel_before(x) is None
