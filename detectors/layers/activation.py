"""Activations that torch has not, and how a finished network gets other ones."""

import torch
from torch import Tensor, nn

from detectors.layers.conv import Activation

# Gates, such as the sigmoid of squeeze-and-excitation, are not among them.
REPLACED = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish, nn.GELU, nn.LeakyReLU)


def replace_activations(network: nn.Module, act: Activation) -> None:
    """Put a fresh `act()` in the place of every activation of a common kind inside `network`.

    Raises:
        ValueError: there is none.
    """
    found = [
        (parent, name)
        for parent in network.modules()
        for name, child in parent.named_children()
        if isinstance(child, REPLACED)
    ]
    if not found:
        kinds = ", ".join(kind.__name__ for kind in REPLACED)
        raise ValueError(
            f"{type(network).__name__} has no activation of the kinds {kinds}: leave `act` out"
        )
    for parent, name in found:
        setattr(parent, name, act())


class ThresholdedLinear(nn.Module):
    """The larger of the input and a learnt threshold, at first a ReLU.

    TLU of Singh and Krishnan 2020, eq. 3, one threshold a layer instead of one a channel, because
    an activation is made without knowing the channels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.maximum(x, self.threshold.to(x.dtype))
