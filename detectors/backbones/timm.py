"""Makes a backbone of any timm network that can return feature maps."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import load_state_dict
from torch import Tensor, nn

from detectors.backbones import Backbone
from detectors.layers.activation import replace_activations
from detectors.layers.conv import Activation, Norm
from detectors.layers.norm import replace_batch_norms
from detectors.ranges import Count, Whole
from detectors.structures import FeatureSpec


class TimmBackbone(Backbone):
    """Levels of a timm model, named by their stride.

    timm's `resnet18` to `resnet152` are torchvision's to the bit, parameter names included. Where a
    network rounds sizes down or has convolutions without padding (DenseNet, Inception), its levels
    are smaller than promised: see `grown`.

    Args:
        name: what `timm.create_model` knows, "resnet50" or "resnet50.a1_in1k".
        strides: levels to return, rising. Layers behind the last one are not built. Where a model
            has several levels of one stride, the deepest counts.
        pretrained: take timm's published weights from its cache or the network.
        weights: or a local .safetensors or .pth state dict with timm's names, on top.
        frozen_stride: all layers up to the level of this stride do not learn; 0: all learn.
            Their batch norms still count unless `norm` is frozen.
        norm: replaces every batch norm and takes over its state; None leaves the model's own.
        act: replaces every activation but gates; None leaves the model's own.
        kwargs: passed to timm, for instance `drop_path_rate`.

    Raises:
        ValueError: the model is unknown or does not take all of kwargs, a stride is not offered, or
            weights cannot be had.
    """

    reads_foreign_weights = True

    def __init__(
        self,
        name: str,
        strides: Sequence[Count] = (8, 16, 32),
        pretrained: bool = False,
        weights: str | Path | None = None,
        frozen_stride: Whole = 0,
        norm: Norm | None = None,
        act: Activation | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__()
        offered = _offered(name, kwargs)
        indices = [_index(offered, stride, name) for stride in sorted(strides)]
        self.body = _build(name, indices, pretrained, kwargs)
        if weights is not None:
            _load(self.body, Path(weights))
        if frozen_stride:
            _freeze(self.body, name, _index(offered, frozen_stride, name), kwargs)
        if norm is not None:
            replace_batch_norms(self.body, norm)
        if act is not None:
            replace_activations(self.body, act)
        channels = _levels(self.body).channels()
        self.specs = [FeatureSpec(c, offered[i]) for c, i in zip(channels, indices, strict=True)]
        self.channels_last = str(getattr(self.body, "output_fmt", "NCHW")).endswith("NHWC")

    def forward(self, images: Tensor) -> list[Tensor]:
        """[B, 3, H, W] -> one [B, channels, H / stride, W / stride] per spec."""
        features = list(self.body(images))
        if self.channels_last:  # Swin and its kin
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        return [
            grown(feature, images, spec.stride)
            for feature, spec in zip(features, self.specs, strict=True)
        ]


def grown(feature: Tensor, images: Tensor, stride: int) -> Tensor:
    """The feature with its border repeated until it has ceil(side / stride) cells of the images.

    Half of what is missing, rounded down, comes before the first cell: so cells lie within one cell
    of where their stride says.
    """
    sides = zip(images.shape[-2:], feature.shape[-2:], strict=True)
    down, across = (max(-(-side // stride) - cells, 0) for side, cells in sides)
    if not down and not across:
        return feature
    pad = (across // 2, across - across // 2, down // 2, down - down // 2)
    return F.pad(feature, pad, mode="replicate").to(feature.dtype)  # autocast widens it on a CPU


def _offered(name: str, kwargs: dict) -> list[int]:
    """Strides of all levels of the model, found once in a process where kwargs can be hashed."""
    settings = tuple(sorted(kwargs.items()))
    try:
        hash(settings)
    except TypeError:
        return _found(name, settings)
    return _found_once(name, settings)


def _found(name: str, settings: tuple[tuple[str, Any], ...]) -> list[int]:
    """By building the model without memory, which draws no random number."""
    if not timm.is_model(name.partition(".")[0]):
        raise ValueError(f"timm {timm.__version__} has no model {name!r}; see timm.list_models()")
    try:
        with torch.device("meta"):
            levels = _levels(timm.create_model(name, features_only=True, **dict(settings)))
    except TypeError as error:
        named = re.search(r"unexpected keyword argument (\S+)", str(error))
        unknown = named[1] if named else error
        raise ValueError(
            f"timm's {name} does not know {unknown}: leave it out, or choose a backbone that knows "
            "it, such as backbone=darknet53"
        ) from error
    return [level["reduction"] for level in levels.info]  # DLA leaves the first out by default


_found_once = cache(_found)


def _levels(body: nn.Module) -> Any:
    """timm's record of channels and reduction per level."""
    return body.feature_info


def _index(offered: list[int], stride: int, name: str) -> int:
    if stride not in offered:
        raise ValueError(f"{name} has no level of stride {stride}, it offers {offered}")
    return len(offered) - 1 - offered[::-1].index(stride)


def _build(name: str, indices: Sequence[int], pretrained: bool, kwargs: dict) -> nn.Module:
    options = {"features_only": True, "out_indices": indices, **kwargs}
    if not pretrained:
        return timm.create_model(name, **options)
    try:
        return timm.create_model(name, pretrained=True, **options)
    except Exception as error:  # the hub's libraries raise a dozen kinds
        raise ValueError(
            f"the pretrained weights of {name} cannot be had here ({error}). Either give a file"
            " with weights=PATH (.safetensors or .pth, timm's names) and pretrained=false; or run"
            " once on a machine with network and copy its Hugging Face cache (HF_HOME) here."
        ) from error


def _load(body: nn.Module, path: Path) -> None:
    """Fill `body` from a file; entries behind its last layer, such as the classifier, are unused.

    timm's feature networks write the first dot of some names as an underscore, hence the folding.
    """
    if not path.is_file():
        raise ValueError(f"weights: there is no file {path}")
    given = {_folded(key): value for key, value in load_state_dict(str(path)).items()}
    wanted = body.state_dict()
    absent = [
        key
        for key, value in wanted.items()
        if _folded(key) not in given or given[_folded(key)].shape != value.shape
    ]
    absent = [key for key in absent if not key.endswith("num_batches_tracked")]
    if absent:
        raise ValueError(
            f"weights: {path} lacks {len(absent)} of {len(wanted)} tensors or has them in another"
            f" shape, the first is {absent[0]!r}: is it a file of this model?"
        )
    found = {key: given[_folded(key)] for key in wanted if _folded(key) in given}
    body.load_state_dict(found, strict=False)


def _folded(key: str) -> str:
    return key.replace(".", "_")


def _freeze(body: nn.Module, name: str, index: int, kwargs: dict) -> None:
    """Stop the parameters that the level `index` is made from: those of a body that ends there."""
    with torch.device("meta"):
        ending = timm.create_model(name, features_only=True, out_indices=[index], **kwargs)
    frozen = {key for key, _ in ending.named_parameters()}
    for key, parameter in body.named_parameters():
        if key in frozen:
            parameter.requires_grad_(False)
