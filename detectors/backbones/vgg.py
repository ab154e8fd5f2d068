"""VGG-16 as SSD and Faster R-CNN use it."""

from collections.abc import Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.layers.conv import Activation, ConvNormAct, Norm
from detectors.layers.l2norm import ScaledL2Norm
from detectors.ranges import Count, Whole
from detectors.structures import FeatureSpec

# fc6 and fc7 in torchvision's and in timm's state dicts.
HIDDEN = ("classifier.0.", "classifier.3.", "pre_logits.fc1.", "pre_logits.fc2.")


class VGG(Backbone):
    """Five stages of 3x3 convolutions, pools between them; returned is conv5_3, of stride 16.

    The defaults are VGG-16 (Simonyan and Zisserman 2015, table 1, D) without its classifier. Pools
    round up, as in caffe.

    Args:
        norm: behind every convolution, which then has no bias; VGG has none.
        act: behind that.
        widths, depths: channels and convolutions of each stage.
        weights: local .safetensors or .pth state dict of a VGG-16 under torchvision's or timm's
            names; what lies behind conv5_3 is not used.
        frozen_stages: the first so many do not learn.

    Raises:
        ValueError: the file is absent or of another network.
    """

    reads_foreign_weights = True

    def __init__(
        self,
        norm: Norm | None,
        act: Activation,
        widths: Sequence[Count] = (64, 128, 256, 512, 512),
        depths: Sequence[Count] = (2, 2, 3, 3, 3),
        weights: str | Path | None = None,
        frozen_stages: Whole = 0,
    ) -> None:
        super().__init__()
        self.stages = _stages(widths, depths, norm, act)
        self.stages[:frozen_stages].requires_grad_(False)
        self.specs = [FeatureSpec(widths[4], 16)]
        if weights is not None:
            _load(self.stages, _read(weights), weights)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> [B, channels, H / 16, W / 16], in a list."""
        x = self.stages[0](images)
        for stage in self.stages[1:]:
            x = stage(F.max_pool2d(x, 2, ceil_mode=True))
        return [x]


class AtrousVGG(Backbone):
    """VGG, then fc6 as a 3x3 convolution with holes and fc7 as a 1x1 one.

    Sub-sampled as in DeepLab (SSD, sec. 3 "Base network"); pool5 is 3x3 of stride 1. Returned are
    conv4_3, normalised, of stride 8, and fc7, of stride 16. 300 pixels become 38 and 19 cells.

    Args:
        norm, act, widths, depths: as `VGG`.
        hidden: channels of fc6 and fc7.
        weights: as `VGG`; fc6 and fc7 take every fourth row of the classifier's, if it is there.
    """

    reads_foreign_weights = True

    def __init__(
        self,
        norm: Norm | None,
        act: Activation,
        widths: Sequence[Count] = (64, 128, 256, 512, 512),
        depths: Sequence[Count] = (2, 2, 3, 3, 3),
        hidden: Count = 1024,
        weights: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.stages = _stages(widths, depths, norm, act)
        self.l2norm = ScaledL2Norm(widths[3])
        self.fc6 = ConvNormAct(widths[4], hidden, 3, norm=norm, act=act)
        self.fc6.conv.dilation = self.fc6.conv.padding = (6, 6)
        self.fc7 = ConvNormAct(hidden, hidden, 1, norm=norm, act=act)
        for conv in (self.fc6.conv, self.fc7.conv):
            nn.init.xavier_uniform_(conv.weight)  # SSD, sec. 3
            _clear(conv)
        self.specs = [FeatureSpec(widths[3], 8), FeatureSpec(hidden, 16)]
        if weights is not None:
            state = _read(weights)
            _load(self.stages, state, weights)
            self._load_classifier(state)

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per spec."""
        x = self.stages[0](images)
        for stage in self.stages[1:4]:
            x = stage(F.max_pool2d(x, 2, ceil_mode=True))
        conv4_3 = x
        x = self.stages[4](F.max_pool2d(x, 2, ceil_mode=True))
        x = F.max_pool2d(x, 3, stride=1, padding=1)
        return [self.l2norm(conv4_3), self.fc7(self.fc6(x))]

    def _load_classifier(self, state: dict[str, Tensor]) -> None:
        """Take every fourth of 4096 rows and inputs, and every third of the 7x7 places."""
        names = [name for name in HIDDEN if name + "weight" in state]
        if len(names) != 2:
            return
        (w6, w7), (b6, b7) = ([state[name + kind] for name in names] for kind in ("weight", "bias"))
        w6 = w6.view(len(w6), -1, 7, 7)[::4, :, ::3, ::3]
        w7 = w7.view(len(w7), -1, 1, 1)[::4, ::4]
        self.fc6.conv.load_state_dict({"weight": w6, "bias": b6[::4]})
        self.fc7.conv.load_state_dict({"weight": w7, "bias": b7[::4]})


def _stages(
    widths: Sequence[int], depths: Sequence[int], norm: Norm | None, act: Activation
) -> nn.ModuleList:
    """The stages, drawn for rectifiers (He et al. 2015, sec. 2.2)."""
    stages = nn.ModuleList()
    for before, width, depth in zip([3, *widths[:-1]], widths, depths, strict=True):
        entering = [before] + [width] * (depth - 1)
        stages.append(
            nn.Sequential(*(ConvNormAct(c, width, 3, norm=norm, act=act) for c in entering))
        )
    for conv in _convolutions(stages):
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        _clear(conv)
    return stages


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in module.modules() if isinstance(layer, nn.Conv2d)]


def _clear(conv: nn.Conv2d) -> None:
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def _read(path: str | Path) -> dict[str, Tensor]:
    from timm.models import load_state_dict  # all of timm's models come with it

    if not Path(path).is_file():
        raise ValueError(f"weights: there is no file {path}")
    return load_state_dict(str(path))


def _load(stages: nn.ModuleList, state: dict[str, Tensor], path: str | Path) -> None:
    """Copy the k-th convolution of the file to our k-th."""
    convolutions = _convolutions(stages)
    named = [name for name, w in state.items() if name.startswith("features.") and w.dim() == 4]
    fits = [state[n].shape for n in named] == [conv.weight.shape for conv in convolutions]
    if not fits or any(conv.bias is None for conv in convolutions):
        raise ValueError(
            f"weights: {path} has {len(named)} convolutions, expected the {len(convolutions)} of "
            "a VGG-16 without norms: is it a file of this model, and is norm=none?"
        )
    for name, conv in zip(named, convolutions, strict=True):
        conv.load_state_dict({"weight": state[name], "bias": state[name[:-6] + "bias"]})
