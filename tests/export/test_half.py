"""Weights in float16 are those whose rounding does little; the rest stays as it is."""

import torch
from torch import nn

from detectors.export.half import halved


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.usual, self.huge, self.tiny = (nn.Conv2d(3, 4, 3) for _ in range(3))
        self.norm = nn.BatchNorm2d(4)
        with torch.no_grad():
            self.huge.weight *= 1e6
            self.tiny.weight *= 1e-8

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.norm(self.usual(images) + self.huge(images) + self.tiny(images))


def test_weights_that_float16_holds_are_rounded_and_no_others() -> None:
    layers = Layers().eval()
    half, count, kept = halved(layers)
    assert count == layers.usual.weight.numel()
    assert count + kept == sum(parameter.numel() for parameter in layers.parameters())
    assert torch.equal(half.usual.weight, layers.usual.weight.half().float())
    assert torch.equal(half.huge.weight, layers.huge.weight)
    assert torch.equal(half.tiny.weight, layers.tiny.weight)
    assert torch.equal(half.norm.weight, layers.norm.weight)
    assert layers.usual.weight.dtype == torch.float32
    assert half(torch.rand(1, 3, 8, 8)).dtype == torch.float32
