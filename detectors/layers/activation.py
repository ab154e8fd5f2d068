"""Activations that torch has not, and how a finished network gets other ones."""

import torch
from torch import Tensor, nn

from detectors.layers.conv import Activation, activation

# Gates, such as the sigmoid of squeeze-and-excitation, are not among them.
REPLACED = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU)


def replace_activations(network: nn.Module, act: Activation) -> None:
    """Put a fresh `act` in the place of every activation of a common kind inside `network`.

    An activation has the channels of the convolution or norm before it.

    Raises:
        ValueError: there is none.
    """
    found, channels = {}, 0
    for name, layer in network.named_modules(remove_duplicate=False):
        weight = getattr(layer, "weight", None)
        if isinstance(layer, REPLACED):
            found[name] = activation(act, channels)
        elif isinstance(weight, Tensor):
            channels = len(weight)
    if not found:
        kinds = ", ".join(kind.__name__ for kind in REPLACED)
        raise ValueError(
            f"{type(network).__name__} has no activation of the kinds {kinds}: leave `act` out"
        )
    for name, layer in found.items():
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, layer)


class ThresholdedLinear(nn.Module):
    """The larger of the input and a learnt threshold of its channel, at first a ReLU.

    TLU of Singh and Krishnan 2020, eq. 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] alike."""
        return torch.maximum(x, self.threshold.to(x.dtype).view(-1, *[1] * (x.dim() - 2)))


def prelu(channels: int, init: float = 0.25) -> nn.PReLU:
    """A leaky ReLU whose slope each channel learns: He et al. 2015, eq. 1."""
    return nn.PReLU(channels, init)
