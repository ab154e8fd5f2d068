"""Networks of R-CNN, which look at one warped window at a time."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.backbones.vgg import VGG
from detectors.layers.conv import Activation, Norm, activation
from detectors.ranges import Count, Share


class CaffeNet(nn.Module):
    """AlexNet as caffe has it, up to pool5: response norms behind the pools, grouped convolutions.

    Krizhevsky et al. 2012, sec. 3; `bvlc_reference_caffenet`. Pools round up, as in caffe. A window
    of 227 pixels becomes 6 x 6 cells.

    Args:
        act: behind each convolution.
        norm: in the place of the response norms and behind every convolution, to learn from random
            weights; None: as published.
        widths: channels of the five convolutions.
    """

    def __init__(
        self,
        act: Activation,
        norm: Norm | None = None,
        widths: Sequence[Count] = (96, 256, 384, 384, 256),
    ) -> None:
        super().__init__()
        self.channels = widths[-1]
        kernels, strides, paddings = (11, 5, 3, 3, 3), (4, 1, 1, 1, 1), (0, 2, 1, 1, 1)
        groups = (1, 2, 1, 2, 2)
        entering = (3, *widths[:-1])
        convolutions = (
            nn.Conv2d(a, b, k, s, p, groups=g, bias=norm is None)
            for a, b, k, s, p, g in zip(
                entering, widths, kernels, strides, paddings, groups, strict=True
            )
        )
        self.stages = nn.ModuleList(
            nn.Sequential(
                convolution, *([norm(width)] if norm is not None else []), activation(act, width)
            )
            for convolution, width in zip(convolutions, widths, strict=True)
        )
        self.response = nn.LocalResponseNorm(5, 1e-4, 0.75) if norm is None else nn.Identity()

    def forward(self, crops: Tensor) -> Tensor:
        """[n, 3, side, side] -> [n, channels, cells, cells]."""
        x = crops
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in (0, 1):
                x = self.response(_pooled(x))
        return _pooled(x)

    def cells(self, side: int) -> int:
        """Of pool5, for windows of `side` pixels."""
        cells = (side - 11) // 4 + 1
        for _ in range(3):
            cells = math.ceil((cells - 3) / 2) + 1
        return cells


def _pooled(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, 2, ceil_mode=True)


class VGGPool5(nn.Module):
    """The convolutions of a VGG, up to pool5; a window of 224 pixels becomes 7 x 7 cells."""

    def __init__(self, backbone: VGG) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = backbone.specs[-1].channels

    def forward(self, crops: Tensor) -> Tensor:
        """[n, 3, side, side] -> [n, channels, cells, cells]."""
        return F.max_pool2d(self.backbone(crops)[-1], 2, ceil_mode=True)

    def cells(self, side: int) -> int:
        """Of pool5, for windows of `side` pixels."""
        return math.ceil(side / 32)


def vgg_pool5(
    act: Activation,
    norm: Norm | None = None,
    widths: Sequence[Count] = (64, 128, 256, 512, 512),
) -> VGGPool5:
    """That of a VGG-16 with these activations, norms and channels."""
    return VGGPool5(VGG(norm, act, widths))


class CropNetwork(nn.Module):
    """Convolutions up to pool5, fc6, fc7 and fc8 (Girshick et al. 2014, sec. 2.1 and 2.3).

    Args:
        convolutions: up to pool5.
        num_classes: C.
        side: of the windows in pixels.
        hidden: numbers of fc6 and of fc7.
        dropout: behind each of them.
        normed: whether each of them has a batch norm, to learn from random weights.
    """

    def __init__(
        self,
        convolutions: CaffeNet | VGGPool5,
        num_classes: Count,
        side: Count,
        hidden: Count = 4096,
        dropout: Share = 0.5,
        normed: bool = False,
    ) -> None:
        super().__init__()
        self.convolutions, self.side = convolutions, side
        cells = convolutions.cells(side)
        if cells < 1:
            raise ValueError(f"windows of {side} pixels leave nothing of the last level")
        self.pooled, self.hidden = convolutions.channels * cells**2, hidden
        self.fc6 = _connected(self.pooled, hidden, dropout, normed)
        self.fc7 = _connected(hidden, hidden, dropout, normed)
        self.fc8 = nn.Linear(hidden, 1 + num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(self.fc8.weight, std=0.01)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def features(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """pool5 [n, pooled] and fc7 [n, hidden], behind its activation.

        Args:
            crops: [n, 3, side, side], normalised.
        """
        pooled = self.convolutions(crops).flatten(1)
        return pooled, self.fc7(self.fc6(pooled))

    def forward(self, crops: Tensor) -> Tensor:
        """Logits [n, 1 + C], background first."""
        return self.fc8(self.features(crops)[1])

    def start_from(self, file: str) -> None:
        """Take what a state dict has under our names; fc8 keeps its values where shapes differ.

        Raises:
            ValueError: there is no such file, or it lacks a layer below fc8.
        """
        if not Path(file).is_file():
            raise ValueError(f"part.fitted.pretrained: there is no file {file}")
        state = torch.load(file, map_location="cpu", weights_only=True)
        own = self.state_dict()
        fitting = {
            name: value
            for name, value in state.items()
            if name in own and value.shape == own[name].shape
        }
        lacking = [name for name in own if name not in fitting and not name.startswith("fc8")]
        if lacking:
            raise ValueError(
                f"part.fitted.pretrained: {file} has no {lacking[0]} of shape "
                f"{list(own[lacking[0]].shape)}, nor {len(lacking) - 1} others: expected the state "
                "dict of this network, whose names `detectors show` prints"
            )
        self.load_state_dict(fitting, strict=False)


def _connected(entering: int, leaving: int, dropout: float, normed: bool) -> nn.Sequential:
    """A connected layer with its activation."""
    layers: list[nn.Module] = [nn.Linear(entering, leaving, bias=not normed)]
    layers += [nn.BatchNorm1d(leaving)] if normed else []
    return nn.Sequential(*layers, nn.ReLU(), nn.Dropout(dropout))
