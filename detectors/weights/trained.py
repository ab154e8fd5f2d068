"""Fills a detector from a checkpoint of `detectors train`, which may know other classes."""

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from detectors.config.links import followed
from detectors.detector import Detector
from detectors.weights.checkpoint import load_checkpoint, stored_weights
from detectors.weights.class_rows import class_rows, merged
from detectors.weights.container import SUFFIX
from detectors.weights.torchvision import State, check_tensors, tell_left_out

Names = Callable[[], Sequence[str]]

_log = logging.getLogger(__name__)


def is_checkpoint(source: str) -> bool:
    """Whether `weights=source` names a file of `detectors train`."""
    return ":" not in source and Path(source).suffix in (".ckpt", SUFFIX)


def load_trained(
    detector: Detector,
    made: Callable[[int], Detector],
    num_classes: int,
    source: str,
    names: Names | None = None,
    file_classes: int | None = None,
) -> None:
    """Fill `detector` with the weights of a checkpoint, the averaged ones if there was an average.

    Of tensors that depend on the classes, the rows of those that both know by name are taken; rows
    of others stay as they were. Without names such tensors are taken whole where the numbers of
    classes agree, else left out. What was taken is logged.

    Args:
        made: the same detector for another number of classes.
        num_classes: C of `detector`.
        source: the file.
        names: gives the names of its classes, asked only once the file is known to fit.
        file_classes: how many classes the file is said to have: what depends on them is left out.

    Raises:
        ValueError: the file is none of ours or of another detector, or has other than
            `file_classes` classes.
    """
    given, known, count = _read(source)
    if file_classes not in (None, count):
        raise ValueError(f"weights_classes={file_classes}, but {source} has {count} classes")
    with torch.device("meta"):
        expected, wider = made(count).state_dict(), made(num_classes + 1).state_dict()
    check_tensors(
        expected, given, source, "Choose the model, size and parts that the file was made with"
    )
    own = detector.state_dict()
    dependent = [name for name in own if own[name].shape != wider[name].shape]
    here = None if names is None or known is None else list(names())
    if file_classes is not None or (here is None and count != num_classes):
        told, taken = "what depends on the classes is left out", _without(given, dependent)
    elif here is None or here == list(known):
        told, taken = f"all {count} classes", given
    else:
        with torch.random.fork_rng(devices=[]):
            theirs = class_rows(made(count), count, dependent)
        ours = class_rows(detector, num_classes, dependent)
        rows = {name: (ours[name], theirs[name]) for name in ours.keys() & theirs.keys()}
        kept = _kept(own, given, rows, here, known)
        told, taken = _told(known, here, kept), {**_without(given, dependent), **kept}
    detector.load_state_dict(taken, strict=False)
    for name in sorted(set(dependent) - taken.keys()):
        tell_left_out(source, name, given, own)
    _log.info("%s: filled %d of %d tensors; %s", source, len(taken), len(own), told)


def _read(source: str) -> tuple[State, Any, int]:
    """The weights of a checkpoint's detector, the names of its classes, and how many there are."""
    checkpoint = load_checkpoint(Path(source))
    given, known = stored_weights(checkpoint), checkpoint.get("classes")
    count = len(known) if known else followed(checkpoint["config"], "num_classes")
    if not given or count is None:
        raise ValueError(
            f"weights={source}: holds no detector. Of a classifier of `detectors pretrain`, use "
            "part.backbone.weights=FILE with the backbone.pt of its run"
        )
    return given, known, count


def _kept(
    own: State,
    given: State,
    rows: Mapping[str, tuple[Tensor, Tensor]],
    here: Sequence[str],
    known: Sequence[str],
) -> State:
    """The tensors whose rows of classes are known, with those of the file that are here too."""
    pairs = [(here.index(name), known.index(name)) for name in here if name in known]
    mapped = {name: merged(own[name], given[name], rows[name], pairs) for name in rows}
    return {name: value for name, value in mapped.items() if value is not None}


def _without(given: State, names: Sequence[str]) -> State:
    return {name: value for name, value in given.items() if name not in names}


def _told(known: Sequence[str], here: Sequence[str], taken: Collection[str]) -> str:
    """Which classes are kept, and which not; none are if no tensor has rows that could be."""
    kept = [name for name in here if name in known and taken]
    new = [name for name in here if name not in kept]
    gone = [name for name in known if name not in here]
    told = f"by name {len(kept)} classes kept: {kept}, {len(new)} new: {new}"
    return f"{told}, {len(gone)} of the file not here: {gone}"
