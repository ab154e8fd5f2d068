"""Finds the rows of a detector's tensors from which each class is predicted."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from detectors.coders import Coder
from detectors.detector import Detector
from detectors.structures import Predictions, Proposals

NO_CLASS = -1  # background, quality, and boxes that all classes share
_UNSEEN, _SEVERAL = -2, -3
_FIRST = 2**20  # number of the first row; a sum or multiple of such numbers is none of them


def class_rows(
    detector: Detector, num_classes: int, dependent: Collection[str]
) -> dict[str, Tensor]:
    """The class of every row of a tensor, by the tensor's name; `NO_CLASS` where it has none.

    The head is asked: it predicts once with zeros for parameters, but the number of its row for
    each bias that depends on the number of classes. So each prediction says where it is from.

    Args:
        detector: left as it was.
        num_classes: C.
        dependent: names of the tensors whose first axis depends on C.

    Returns:
        Per tensor [rows] int64. Biases, and the weights beside them, of which every class has
        equally many rows; how the rows of others belong to classes cannot be told.
    """
    tensors = detector.state_dict()
    biases = [name for name in dependent if name.endswith(".bias") and tensors[name].dim() == 1]
    ends = torch.tensor([0, *(len(tensors[name]) for name in biases)]).cumsum(0).tolist()
    numbers = {
        name: torch.arange(_FIRST + start, _FIRST + end, dtype=torch.float32)
        for name, start, end in zip(biases, ends, ends[1:], strict=False)
    }
    owners = torch.full((ends[-1],), _UNSEEN)
    for predictions in _predicted(_output(detector, numbers)):
        for values, classes in _labelled(predictions, num_classes):
            _note(owners, values, classes)
    found = {}
    for name, rows in zip(biases, owners.split([len(tensors[n]) for n in biases]), strict=True):
        if _complete(rows, num_classes):
            rows = rows.where(rows != _UNSEEN, NO_CLASS)
            weight = f"{name.removesuffix('.bias')}.weight"
            names = {name, weight} & set(dependent)
            found.update({n: rows for n in names if len(tensors[n]) == len(rows)})
    for name, part in detector.named_modules():
        if isinstance(part, Coder) and part.by_class:  # a row of each class, as the coder says
            own = {f"{name}.{buffer}" for buffer, _ in part.named_buffers(recurse=False)}
            found.update(dict.fromkeys(own & set(dependent), torch.arange(num_classes)))
    return found


def merged(
    own: Tensor, given: Tensor, rows: tuple[Tensor, Tensor], pairs: Sequence[tuple[int, int]]
) -> Tensor | None:
    """`own`, with the rows of `given` that are of the same class or of none.

    Args:
        rows: of `class_rows` for both.
        pairs: the label of a class here, and in `given`.

    Returns:
        None if a class, or all that is of no class, has not as many rows in both.
    """
    result, (here, there) = own.clone(), rows
    for label, other in [(NO_CLASS, NO_CLASS), *pairs]:
        targets, sources = here == label, there == other
        if targets.sum() != sources.sum():
            return None
        result[targets] = given[sources].to(own)
    return result


@torch.no_grad()
def _output(detector: Detector, numbers: Mapping[str, Tensor]) -> Any:
    """What the head predicts from features that are zero."""
    head, specs = detector.head, detector.neck.specs
    side = max(spec.stride for spec in specs)
    height, width = head.only_canvas or (side, side)
    features = [
        torch.zeros(1, s.channels, -(-height // s.stride), -(-width // s.stride)) for s in specs
    ]
    zero = torch.zeros(())
    state = {
        name: numbers.get(f"head.{name}", zero.expand(parameter.shape))
        for name, parameter in head.named_parameters()
    }
    training = [module for module in head.modules() if module.training]
    try:
        frames = torch.tensor([[0.0, 0.0, width, height]])
        given = Proposals(frames[:, None], torch.ones(1, 1, dtype=torch.bool))
        proposed = (None, given) if head.needs_proposals else ()
        return functional_call(head.eval(), state, (features, frames, *proposed))
    finally:
        _learning(training)


def _learning(modules: Sequence[nn.Module]) -> None:
    for module in modules:
        module.training = True


def _predicted(output: Any) -> Iterator[Predictions]:
    """The predictions of every stage, stack or kind of points."""
    if isinstance(output, Predictions):
        yield output
    elif isinstance(output, tuple | Mapping):
        for part in output.values() if isinstance(output, Mapping) else output:
            yield from _predicted(part)


def _labelled(predictions: Predictions, num_classes: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Predicted numbers, and the class that each is of; none of a stage for other classes."""
    logits, deltas, quality, _ = predictions
    background = logits.shape[-1] - num_classes
    if background not in (0, 1):
        return
    classes = torch.arange(num_classes)
    yield logits, torch.arange(-background, num_classes).expand(logits.shape)  # background: -1
    by_class = classes[:, None] if deltas.dim() == 4 else torch.tensor(NO_CLASS)
    yield deltas, by_class.expand(deltas.shape)
    if quality is not None:
        yield quality, torch.tensor(NO_CLASS).expand(quality.shape)


def _note(owners: Tensor, values: Tensor, classes: Tensor) -> None:
    """Write the classes of the rows whose numbers are among the values."""
    rows = values.flatten().double() - _FIRST
    real = (rows >= 0) & (rows < len(owners)) & (rows == rows.round())
    pairs = torch.stack([rows[real].long(), classes.flatten()[real]]).unique(dim=1)
    for row, label in pairs.T.tolist():
        owners[row] = label if owners[row] in (_UNSEEN, label) else _SEVERAL


def _complete(rows: Tensor, num_classes: int) -> bool:
    """Whether no row is of several classes, and all classes have equally many."""
    counts = rows[rows >= 0].bincount(minlength=num_classes)
    return bool((rows != _SEVERAL).all() and (counts == counts[0]).all() and counts[0] > 0)
