"""Folds batch norms into the convolutions before them, which gives the same in fewer steps."""

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from detectors.layers.norm import FrozenBatchNorm

Norm = nn.BatchNorm2d | FrozenBatchNorm
Convolution = nn.Conv2d | nn.ConvTranspose2d


@torch.no_grad()
def fold_batch_norms(network: nn.Module, run: Callable[[], object]) -> int:
    """Fold every batch norm that sees the output of one convolution alone, in place.

    With `s = weight / sqrt(var + eps)` the convolution gets the weights `s w` and the bias
    `(b - mean) s + bias`, computed in float64. The norm leaves what is behind it, such as the
    activation in timm's.

    Args:
        network: in evaluation mode.
        run: runs all of it; which norm follows which convolution is seen meanwhile.

    Returns:
        How many were folded.
    """
    pairs = _seen(network, run)
    for norm, conv in pairs.items():
        _fold(norm, conv)
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if child in pairs:
                rest = [each for each in child.children() if not isinstance(each, nn.Identity)]
                setattr(parent, name, nn.Sequential(*rest) if rest else nn.Identity())
    return len(pairs)


def _seen(network: nn.Module, run: Callable[[], object]) -> dict[nn.Module, Convolution]:
    """The convolution of each norm that can be folded into it."""
    made: dict[int, tuple[Convolution, Tensor]] = {}  # kept alive, so that no id is there twice
    heard: dict[nn.Module, list[Convolution | None]] = {}
    calls: Counter[nn.Module] = Counter()

    def after_convolution(conv: Convolution, _: tuple, output: Tensor) -> None:
        made[id(output)] = conv, output
        calls[conv] += 1

    def before_norm(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        conv, _ = made.get(id(given[0]), (None, None))
        heard.setdefault(norm, []).append(conv)

    hooks = [
        *(m.register_forward_hook(after_convolution) for m in network.modules() if _plain(m)),
        *(m.register_forward_pre_hook(before_norm) for m in network.modules() if _constant(m)),
    ]
    run()
    for hook in hooks:
        hook.remove()
    return {
        norm: convs[0]
        for norm, convs in heard.items()
        if convs[0] is not None and {*convs} == {convs[0]} and calls[convs[0]] == len(convs)
    }


def _plain(module: nn.Module) -> bool:
    """Whether it is a convolution by its own weight, which can take over a factor."""
    ordinary = type(module).forward in (nn.Conv2d.forward, nn.ConvTranspose2d.forward)
    grouped = isinstance(module, nn.ConvTranspose2d) and module.groups > 1
    own = isinstance(module._parameters.get("weight"), nn.Parameter)
    return ordinary and own and not grouped


def _constant(module: nn.Module) -> bool:
    """Whether it is a batch norm that does the same to every image."""
    frozen = isinstance(module, FrozenBatchNorm)
    return frozen or (isinstance(module, nn.BatchNorm2d) and module.running_var is not None)


def _fold(norm: nn.Module, conv: Convolution) -> None:
    assert isinstance(norm, Norm)
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    ones = torch.ones_like(variance)
    weight = ones if norm.weight is None else norm.weight
    shift = 0 * ones if norm.bias is None else norm.bias
    before = 0 * ones if conv.bias is None else conv.bias
    scale = weight.double() / (variance.double() + norm.eps).sqrt()
    outputs = 1 if isinstance(conv, nn.ConvTranspose2d) else 0  # which axis of the weight
    kernel = conv.weight.double() * scale.view([-1 if axis == outputs else 1 for axis in range(4)])
    bias = (before.double() - mean.double()) * scale + shift.double()
    conv.weight = nn.Parameter(kernel.to(conv.weight), requires_grad=False)
    conv.bias = nn.Parameter(bias.to(conv.weight), requires_grad=False)
