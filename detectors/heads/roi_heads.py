"""Region heads of Faster R-CNN. Their contract is `detectors.heads.RegionHead`."""

import math
from pathlib import Path

import torch
from torch import Tensor, nn

from detectors.backbones.timm import TimmBackbone
from detectors.heads import RegionHead
from detectors.layers.conv import ConvNormAct, Norm
from detectors.ranges import Count, Share


class BoxPredictor(nn.Module):
    """Two linear layers: the classes of a region and a box for each of them.

    Args:
        width: numbers that describe a region.
        num_classes: C.
        one_box: predict one box, whatever the class.
        numbers: regressed for each box, as many as the coder decodes. Those behind the first four
            begin near zero, from N(0, 0.0001) (He et al. 2019, "Bounding Box Regression with
            Uncertainty", sec. 4).
    """

    def __init__(
        self, width: Count, num_classes: int, one_box: bool = False, numbers: int = 4
    ) -> None:
        super().__init__()
        self.one_box, self.numbers = one_box, numbers
        self.logits = nn.Linear(width, 1 + num_classes)
        boxes = 1 if one_box else 1 + num_classes  # the background's is not used
        self.deltas = nn.Linear(width, numbers * boxes)
        with torch.no_grad():
            self.deltas.weight.view(boxes, numbers, width)[:, 4:].normal_(std=0.0001)
            self.deltas.bias.view(boxes, numbers)[:, 4:].zero_()

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas of [B, R, width], float32."""
        deltas = self.deltas(hidden).float()
        if not self.one_box:
            deltas = deltas.unflatten(-1, (-1, self.numbers))[:, :, 1:]
        return self.logits(hidden).float(), deltas


class TwoMLPHead(RegionHead):
    """Two hidden layers over a flattened region, then classes and boxes (FPN, sec. 4.2).

    Args:
        shape: of a pooled region, (channels, bins, bins).
        num_classes: C.
        width: of the hidden layers.
        one_box, numbers: of the `BoxPredictor`.
    """

    takes_numbers = True

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        width: Count = 1024,
        one_box: bool = False,
        numbers: int = 4,
    ) -> None:
        super().__init__()
        self.one_box = one_box
        self.hidden = nn.Sequential(
            nn.Linear(math.prod(shape), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.predictor = BoxPredictor(width, num_classes, one_box, numbers)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas."""
        return self.predictor(self.hidden(pooled.flatten(2)))


class VGGHead(RegionHead):
    """VGG-16's fc6 and fc7 with dropout, then classes and boxes (Fast R-CNN, sec. 2.1 and 2.2).

    Drawn from N(0, 0.01), the boxes from N(0, 0.001), biases zero (Fast R-CNN, sec. 2.3; the hidden
    layers too, which the paper takes from ImageNet).

    Args:
        shape: of a pooled region, (channels, bins, bins).
        num_classes: C.
        width: of the hidden layers.
        second: of the second one, where it differs; None: as the first.
        dropout: probability of a hidden unit to be left out.
        one_box, numbers: of the `BoxPredictor`.
    """

    takes_numbers = True

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        width: Count = 4096,
        dropout: Share = 0.5,
        one_box: bool = False,
        numbers: int = 4,
        second: Count | None = None,
    ) -> None:
        super().__init__()
        self.one_box = one_box
        self.fc6 = nn.Linear(math.prod(shape), width)
        self.fc7 = nn.Linear(width, second or width)
        self.drop = nn.Sequential(nn.ReLU(), nn.Dropout(dropout))
        self.predictor = BoxPredictor(second or width, num_classes, one_box, numbers)
        _draw(self.fc6, self.fc7, self.predictor.logits)
        _draw(self.predictor.deltas, std=0.001)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas."""
        return self.predictor(self.drop(self.fc7(self.drop(self.fc6(pooled.flatten(2))))))


class ConvFCHead(RegionHead):
    """Convolutions over each region and one hidden layer, then classes and boxes.

    Wu and He 2018, sec. 4.2, "4conv1fc"; torchvision's `FastRCNNConvFCHead`, drawn as there.

    Args:
        shape: of a pooled region, (channels, bins, bins); the convolutions have as many channels.
        num_classes: C.
        norm: after each convolution.
        depth: convolutions.
        width: of the hidden layer.
        one_box, numbers: of the `BoxPredictor`.
    """

    takes_numbers = True

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        norm: Norm | None,
        depth: Count = 4,
        width: Count = 1024,
        one_box: bool = False,
        numbers: int = 4,
    ) -> None:
        super().__init__()
        self.one_box = one_box
        channels = shape[0]
        self.convs = nn.Sequential(
            *(ConvNormAct(channels, channels, 3, norm=norm, act=nn.ReLU) for _ in range(depth))
        )
        self.hidden = nn.Linear(math.prod(shape), width)
        self.predictor = BoxPredictor(width, num_classes, one_box, numbers)
        for layer in self.convs.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas."""
        regions = self.convs(pooled.flatten(0, 1)).flatten(1).unflatten(0, pooled.shape[:2])
        return self.predictor(self.hidden(regions).relu())


class Res5Head(RegionHead):
    """The last stage of a ResNet on each region, its mean, then classes and boxes ("C4").

    He et al. 2016, appendix A; Detectron's `ResNet_roi_conv5_head`.

    Args:
        shape: of a pooled region, with the channels that the stage takes.
        num_classes: C.
        name, pretrained, weights, norm, zero_init_last: the ResNet, as `TimmBackbone` takes them.
        one_box: predict one box, whatever the class.

    Raises:
        ValueError: the stage takes another number of channels.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        num_classes: int,
        name: str,
        norm: Norm | None,
        pretrained: bool = False,
        weights: str | Path | None = None,
        zero_init_last: bool = True,
        one_box: bool = False,
    ) -> None:
        super().__init__()
        self.one_box = one_box
        whole = TimmBackbone(
            name, [16, 32], pretrained, weights, norm=norm, zero_init_last=zero_init_last
        )
        takes, gives = (spec.channels for spec in whole.specs)
        if shape[0] != takes:
            raise ValueError(
                f"the last stage of {name} takes {takes} channels, regions have {shape[0]}: "
                "choose the ResNet of the backbone for the region head"
            )
        self.stage = whole.body.get_submodule("layer4")
        self.logits = nn.Linear(gives, 1 + num_classes)
        self.deltas = nn.Linear(gives, 4 if one_box else 4 * num_classes)
        _draw(self.logits)
        _draw(self.deltas, std=0.001)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and deltas."""
        hidden = self.stage(pooled.flatten(0, 1)).mean((-2, -1)).unflatten(0, pooled.shape[:2])
        deltas = self.deltas(hidden).float()
        return self.logits(hidden).float(), deltas if self.one_box else deltas.unflatten(
            -1, (-1, 4)
        )


def _draw(*layers: nn.Linear, std: float = 0.01) -> None:
    for layer in layers:
        nn.init.normal_(layer.weight, std=std)
        nn.init.zeros_(layer.bias)
