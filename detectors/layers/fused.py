"""Folds batch norms into the convolutions before them, which gives the same in fewer steps."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from detectors.layers.norm import FrozenBatchNorm

Norm = nn.BatchNorm2d | FrozenBatchNorm
Convolution = nn.Conv2d | nn.ConvTranspose2d


@torch.no_grad()
def fold_batch_norms(network: nn.Module, run: Callable[[], object]) -> int:
    """Fold, in place, every batch norm that alone takes the output of one convolution.

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
        for name, child in list(parent._modules.items()):
            if child in pairs:
                assert child is not None
                rest = [each for each in child.children() if not isinstance(each, nn.Identity)]
                setattr(parent, name, nn.Sequential(*rest) if rest else nn.Identity())
    return len(pairs)


def _seen(network: nn.Module, run: Callable[[], object]) -> dict[nn.Module, Convolution]:
    """The convolution of each norm that can be folded into it."""
    uses = _Uses()
    heard: dict[nn.Module, list[Tensor]] = {}
    calls: Counter[nn.Module] = Counter()

    def after_convolution(conv: Convolution, _: tuple, output: Tensor) -> None:
        uses.made[id(output)] = conv, output
        calls[conv] += 1

    def before_norm(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        heard.setdefault(norm, []).append(given[0])

    convs, norms = ([m for m in network.modules() if kind(m)] for kind in (_plain, _constant))
    hooks = [conv.register_forward_hook(after_convolution) for conv in convs]
    hooks += [norm.register_forward_pre_hook(before_norm) for norm in norms]
    with uses:
        run()
    for hook in hooks:
        hook.remove()
    found: dict[nn.Module, Convolution] = {}
    for norm, given in heard.items():
        before = {uses.made[id(t)][0] if uses.count[id(t)] == 1 else None for t in given}
        conv = before.pop() if len(before) == 1 else None
        if conv is not None and calls[conv] == len(given):
            found[norm] = conv
    return found


class _Uses(TorchFunctionMode):
    """Counts the functions that take the output of a convolution, in place or not."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[int, tuple[Convolution, Tensor]] = {}  # alive, so that ids stay theirs
        self.count: Counter[int] = Counter()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(found)):  # no question of its shape
            given = {id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
            self.count.update(given & self.made.keys())
        return found


def _plain(module: nn.Module) -> bool:
    """Whether it is a convolution by its own weight, which can take over a factor."""
    ordinary = type(module).forward in (nn.Conv2d.forward, nn.ConvTranspose2d.forward)
    grouped = isinstance(module, nn.ConvTranspose2d) and module.groups > 1
    own = isinstance(module._parameters.get("weight"), nn.Parameter)
    return ordinary and own and not grouped and not _hooked(module)


def _constant(module: nn.Module) -> bool:
    """Whether it is a batch norm that does the same to every image."""
    ours = type(module).forward in (nn.BatchNorm2d.forward, FrozenBatchNorm.forward)
    known = ours or type(module).__name__ == "BatchNormAct2d"  # timm's, with what is behind it
    fixed = isinstance(module, Norm) and module.running_var is not None
    return known and fixed and not _hooked(module)


def _hooked(module: nn.Module) -> bool:
    return bool(module._forward_hooks or module._forward_pre_hooks)


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
