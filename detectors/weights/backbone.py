"""Fills a backbone from a file, as `detectors pretrain` writes them."""

import logging
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from detectors.backbones import Backbone

State = dict[str, Tensor]

_log = logging.getLogger(__name__)


def filled(backbone: Callable[..., nn.Module], weights: str | Path) -> nn.Module:
    """The backbone that the partial makes, with the weights of a local file.

    A file of `detectors pretrain` names tensors as the backbone does. Any other is left to the
    backbone, if it reads such files.

    Raises:
        ValueError: there is no such file, or it does not fit.
    """
    given = read_state(weights)
    with torch.device("meta"):  # draws nothing, so that what is made later stays the same
        outline = backbone()
    reads = isinstance(outline, Backbone) and outline.reads_foreign_weights
    if reads and outline.state_dict().keys().isdisjoint(given):
        return backbone(weights=weights)
    network = backbone()
    load_backbone(network, given, str(weights))
    return network


def read_state(path: str | Path) -> State:
    """Tensors of a .pt, .pth or .safetensors file by name; nothing in it is executed."""
    from timm.models import load_state_dict  # all of timm's models come with it

    if not Path(path).is_file():
        raise ValueError(f"weights: there is no file {path}")
    try:
        state = load_state_dict(str(path), weights_only=True)
    except Exception as error:  # whatever the content makes of the reader
        raise ValueError(f"weights: {path} holds no weights, or code, which is not run") from error
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def load_backbone(network: nn.Module, given: State, source: str) -> None:
    """Fill `network`; the shorter one of network and file must be how the other one begins.

    So a file may lack what lies deeper than pre-training went, such as the last four convolutions
    of YOLOv1, and may have stages that a detector does not build.

    Args:
        given: tensors in the order of the network that they are from.
        source: for messages.

    Raises:
        ValueError: a tensor in between is missing, left over or of another shape; what matches is
            told, and `network` is as it was.
    """
    own = network.state_dict()
    names, offered = _counted(own), _counted(given)
    both = min(len(names), len(offered))
    shapes = [own[name].shape == given[name].shape for name in names if name in given]
    if not both or names[:both] != offered[:both] or not all(shapes):
        raise ValueError(f"weights: {source} does not fit this backbone: {_misfit(own, given)}")
    network.load_state_dict({n: value for n, value in given.items() if n in own}, strict=False)
    _log.info("%s: filled %d of %d tensors of the backbone", source, both, len(names))
    if len(names) > both:
        _log.info("%s: ends before %s, which stays as it was", source, names[both])
    if len(offered) > both:
        _log.info("%s: %s and what follows is not in this backbone", source, offered[both])


def _counted(state: State) -> list[str]:
    """Names without the batch counters, which not every norm has."""
    return [name for name in state if not name.endswith("num_batches_tracked")]


def _misfit(own: State, given: State) -> str:
    names, offered = _counted(own), _counted(given)
    shared = [name for name in names if name in given]
    other = [name for name in shared if own[name].shape != given[name].shape]
    missing = [name for name in names if name not in given]
    left = [name for name in offered if name not in own]
    told = [f"{len(shared) - len(other)} of its {len(names)} tensors match"]
    told += [f"{len(missing)} are missing, first {missing[0]!r}"] if missing else []
    told += [f"{len(left)} are left over, first {left[0]!r}"] if left else []
    told += [f"{len(other)} are of another shape, {_shapes(other[0], own, given)}"] if other else []
    return f"{'; '.join(told)}. {_remedy(shared, missing + left, other)}"


def _shapes(name: str, own: State, given: State) -> str:
    return f"first {name!r}: {tuple(given[name].shape)}, expected {tuple(own[name].shape)}"


def _remedy(shared: list[str], unmatched: list[str], other: list[str]) -> str:
    if not shared:
        return "No name matches: choose the backbone that the file was made with"
    if other:
        return "Choose the backbone and width that the file was made with"
    if any(".conv.bias" in name or "running_" in name for name in unmatched):
        return "It was made with another norm: choose the same, such as norm=batch"
    return "Choose the backbone and depths that the file was made with"
