"""Weights of darknet, the code base of YOLO: `.weights` files read and written, bit for bit.

A file is a header and then float32 numbers, layer by layer in the order of the cfg file (darknet
`src/parser.c`, `load_weights_upto` and `save_weights_upto`). It names nothing, so the order of our
layers must be the cfg's:

- a backbone registers its layers in that order;
- a neck *executes* them in that order, which is found out by running it on a few cells;
- of a head, the layers of a level follow as soon as the neck has finished that level's feature;
- where the backbone is that of a cfg file, they stand where that file has them.

No model is listed anywhere. Files that end early at the end of a layer are as good as any other:
`darknet53.conv.74` fills the backbone of YOLOv3.
"""

import logging
import math
import struct
from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from detectors.backbones.cfg import CfgBackbone
from detectors.detector import Detector
from detectors.layers.darknet import WeightedShortcut
from detectors.layers.local import LocalConv
from detectors.structures import FeatureSpec

_log = logging.getLogger(__name__)


class Header(NamedTuple):
    """What a file begins with; 0.2.5 is what AlexeyAB's darknet writes."""

    major: int = 0
    minor: int = 2
    revision: int = 5
    seen: int = 0  # images trained on

    @property
    def format(self) -> str:
        """Of `struct`: the count of images became wider with version 0.2."""
        wide = self.major * 10 + self.minor >= 2 and not self.transposed
        return "<iiiQ" if wide else "<iiiI"

    @property
    def transposed(self) -> bool:
        """Whether matrices of connected layers are stored inputs x outputs, as long ago."""
        return self.major > 1000 or self.minor > 1000


class Layer(NamedTuple):
    """What a file holds of one layer."""

    name: str  # its place in the model
    module: nn.Module
    tensors: list[Tensor]  # the model's own, in the order of the file

    @property
    def size(self) -> int:
        """Numbers in the file."""
        return sum(tensor.numel() for tensor in self.tensors)


def read_weights(model: nn.Module, path: str | Path) -> Header:
    """Fill `model` from a file, as far as the file goes, and log what was filled.

    Args:
        model: a detector, or any module that registers its layers in the order of the file, such as
            a backbone or a backbone with a classifier.
        path: the file.

    Raises:
        ValueError: the file does not end where a layer does, or has numbers left; the model is then
            as it was.
    """
    header, numbers = _open(Path(path))
    layers = file_layers(model, header.transposed)
    counts = [layer.size for layer in layers]
    ends = np.cumsum(counts)
    filled = int(np.searchsorted(ends, len(numbers), side="right"))
    if filled == 0 or ends[filled - 1] != len(numbers):
        raise ValueError(f"{path}: {_misfit(model, layers, len(numbers))}")
    for layer, end in zip(layers[:filled], ends, strict=False):
        _fill(layer, numbers[end - layer.size : end])
    _report(path, layers, filled)
    return header


def write_weights(model: nn.Module, path: str | Path, header: Header | None = None) -> None:
    """Write all of `model`, which `read_weights` describes; version 0.2.5 if no header is given."""
    header = header or Header()
    layers = file_layers(model, header.transposed)
    with open(path, "wb") as file:
        file.write(struct.pack(header.format, *header))
        for tensor in (tensor for layer in layers for tensor in layer.tensors):
            numbers = tensor.detach().cpu().float().contiguous().numpy()
            file.write(numbers.astype("<f4", copy=False).tobytes())


def file_layers(model: nn.Module, transposed: bool = False) -> list[Layer]:
    """The layers of `model` in the order of a file, with what a file holds of each.

    Args:
        transposed: see `Header`.

    Raises:
        ValueError: the model has a layer that darknet has not.
    """
    names = {module: name for name, module in model.named_modules()}
    modules, norm = list(_in_file_order(model)), None
    layers: list[Layer] = []
    for module, after in zip_longest(modules, modules[1:]):
        if module is norm:
            continue
        if isinstance(module, WeightedShortcut):
            layers.append(Layer(names[module], module, [module.weights]))
            continue
        if not isinstance(module, nn.Conv2d | nn.Linear | LocalConv):
            raise ValueError(f"{names[module]}: darknet has no layer like {module}")
        norm = after if _is_batch_norm(after) else None
        tensors = _tensors(module, norm, transposed)
        if any(tensor is None for tensor in tensors):
            raise ValueError(
                f"{names[module]}: has no bias and no batch norm follows, but {after}: darknet has "
                "no such layer"
            )
        layers.append(Layer(names[module], module, tensors))
    return layers


def _tensors(layer: Any, norm: Any, transposed: bool) -> list:
    """Biases, then what batch norm has, then weights; those of a connected layer stand earlier."""
    connected = isinstance(layer, nn.Linear)
    weight = layer.weight.detach().T if connected and transposed else layer.weight
    if norm is None:
        return [layer.bias, weight]
    rest = [norm.weight, norm.running_mean, norm.running_var]
    return [norm.bias, weight, *rest] if connected else [norm.bias, *rest, weight]


def _is_batch_norm(module: nn.Module | None) -> bool:
    return isinstance(getattr(module, "running_mean", None), Tensor)


def _in_file_order(model: nn.Module) -> Iterator[nn.Module]:
    """All modules that own weights."""
    if not isinstance(model, Detector):
        yield from _owners(model)
        return
    backbone: Any = model.backbone
    own = list(_owners(backbone))
    executed, ready = _execution(model.neck, backbone.specs)
    levels = [network for network, _ in model.head.separate_levels()]
    ready = [len(own) + done for done in ready]
    if isinstance(backbone, CfgBackbone) and not executed:
        ready = [len(list(_layers_owners(backbone, n))) for n in backbone.before_heads]
    executed = own + executed
    if not levels:
        levels, ready = [model.head], [len(executed)]
    for step in range(len(executed) + 1):
        for level, done in zip(levels, ready, strict=True):
            if done == step:
                yield from _owners(level)
        yield from executed[step : step + 1]


def _layers_owners(backbone: CfgBackbone, count: int) -> Iterator[nn.Module]:
    """Those of the first layers of a cfg file."""
    for layer in list(backbone.layers.values())[:count]:
        yield from _owners(layer)


def _owners(module: nn.Module) -> Iterator[nn.Module]:
    """Modules that have weights or statistics of their own, as registered."""
    for child in module.modules():
        if list(child.parameters(recurse=False)) or _is_batch_norm(child):
            yield child


def _execution(neck: nn.Module, specs: Sequence[FeatureSpec]) -> tuple[list[nn.Module], list[int]]:
    """Owners of weights as the neck runs them, and after how many of them each output is ready."""
    owners, executed = set(_owners(neck)), []
    first = next(neck.parameters(), torch.empty(0))
    coarsest = max(spec.stride for spec in specs)
    sides = [2 * coarsest // spec.stride for spec in specs]
    features = [
        first.new_zeros(1, spec.channels, side, side)
        for spec, side in zip(specs, sides, strict=True)
    ]
    made = [(feature, 0) for feature in features]

    def record(module: nn.Module, _: object, output: object) -> None:
        if module in owners:
            executed.append(module)
        if isinstance(output, Tensor):
            made.append((output, len(executed)))

    outputs = _run_hooked(neck, features, record)
    steps = {id(tensor): step for tensor, step in made}
    return executed, [steps.get(id(output), len(executed)) for output in outputs]


@torch.no_grad()
def _run_hooked(neck: nn.Module, features: list[Tensor], record: Callable) -> list[Tensor]:
    """The neck's outputs; it is run in evaluation mode and left as it was."""
    training = {module for module in neck.modules() if module.training}
    hooks = [module.register_forward_hook(record) for module in neck.modules()]
    try:
        return neck.eval()(features)
    finally:
        for module in training:
            module.training = True
        for hook in hooks:
            hook.remove()


def _open(path: Path) -> tuple[Header, np.ndarray]:
    """Header and numbers of a file."""
    with open(path, "rb") as file:
        start = file.read(20)
    if len(start) < 20:
        raise ValueError(f"{path} has {len(start)} bytes, too few for a darknet file")
    header = Header(*struct.unpack("<iii", start[:12]))
    length = struct.calcsize(header.format)
    header = Header(*struct.unpack(header.format, start[:length]))
    size = path.stat().st_size - length
    if size % 4:
        raise ValueError(f"{path}: {size} bytes after the header are no whole number of float32")
    return header, np.fromfile(path, dtype="<f4", offset=length)


@torch.no_grad()
def _fill(layer: Layer, numbers: np.ndarray) -> None:
    parts = torch.from_numpy(numbers).split([tensor.numel() for tensor in layer.tensors])
    for tensor, part in zip(layer.tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def _per_class(model: nn.Module, layers: list[Layer]) -> list[int]:
    """How many numbers each layer of `file_layers` grows by with one more class."""
    growth = dict.fromkeys((layer.name for layer in layers), 0)
    if isinstance(model, Detector):
        names = {module: name for name, module in model.named_modules()}
        for level, anchors in model.head.separate_levels():
            *_, last = (module for module in level.modules() if isinstance(module, nn.Conv2d))
            growth[names[last]] = anchors * (last.in_channels + 1)
    return list(growth.values())


def _misfit(model: Any, layers: list[Layer], given: int) -> str:
    """What is wrong with a file of so many numbers, and what it may be instead."""
    total, used = sum(layer.size for layer in layers), 0
    if given > total:
        found = f"{given - total} numbers are left after the last of {len(layers)} layers"
    for index, layer in enumerate(layers):
        if given - used < layer.size:
            found = (
                f"it runs out in layer {index} of {len(layers)}, {layer.name}, which has "
                f"{layer.size} numbers, but only {given - used} are left"
            )
            break
        used += layer.size
    growth = sum(_per_class(model, layers))
    more = (given - total) / growth if growth else math.nan
    if more.is_integer() and model.head.criterion.num_classes + more > 0:
        likely = model.head.criterion.num_classes + int(more)
        if isinstance(model.backbone, CfgBackbone):
            return f"{found}. A detector of {likely} classes has this length: name its cfg file"
        found += (
            f". A detector of {likely} classes has this length: set num_classes={likely}, or "
            f"weights_classes={likely} to leave out what depends on it"
        )
    return found


def _report(path: str | Path, layers: list[Layer], filled: int) -> None:
    """Log what was filled, and what the file did not reach."""
    _log.info("%s: filled %d of %d layers", path, filled, len(layers))
    if filled < len(layers):
        _log.info("%s: ends before %s, which stays as it was", path, layers[filled].name)
