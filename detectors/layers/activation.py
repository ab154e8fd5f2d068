"""Activations that torch lacks, and the replacement of those of a finished network."""

import torch
from torch import Tensor, nn

from detectors.layers.conv import Activation, ChannelActivation, activation

# Gates, such as the sigmoid of squeeze-and-excitation, stay as they are.
REPLACED = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU)


def replace_activations(network: nn.Module, act: Activation) -> None:
    """Replace every activation of a common kind inside `network` by a new `act`.

    Each new activation is made for the channels of the convolution or norm before it.

    Raises:
        ValueError: `network` has no such activation.
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


class ThresholdedLinear(ChannelActivation):
    """The larger of the input and a learnt threshold for its channel.

    The thresholds start at zero, which makes it a ReLU. TLU of Singh and Krishnan 2020, eq. 3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, ...] -> [B, C, ...]."""
        return torch.maximum(x, self.threshold.to(x.dtype).view(-1, *[1] * (x.dim() - 2)))


class ChannelPReLU(nn.PReLU, ChannelActivation):
    """A leaky ReLU with one learnt slope per channel: He et al. 2015, eq. 1."""

    def __init__(self, channels: int, init: float = 0.25) -> None:
        super().__init__(channels, init)
