"""Invented priors with targets, for tests of loss terms."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from detectors.losses.reduction import total
from detectors.structures import Matched
from tests.examples import predictions, random_boxes, shapes

CLASSES = 3


class Leaves(NamedTuple):
    """What a loss term may send a gradient to, each with the prior as second dimension."""

    logits: Tensor
    deltas: Tensor
    quality: Tensor
    boxes: Tensor


def matched(*images: str, classes: int = CLASSES) -> Matched:
    """Random predictions and targets; `+` is a positive prior, `-` background, `i` ignored.

    All images have as many priors, points in the middle of cells side by side.
    """
    priors = shapes([8], [[(6.0, 9.0)]], height=8, width=8 * len(images[0]))
    raw = predictions(priors, len(images), classes)
    positive = torch.tensor([[state == "+" for state in image] for image in images])
    boxes = random_boxes(*positive.shape)
    near = boxes + 0.4 * torch.rand_like(boxes)  # IoU alone teaches only where boxes meet
    leaves = Leaves(*(field.requires_grad_() for field in (*raw[:3], boxes)))
    labels = torch.randint(classes, positive.shape)
    return Matched(
        predictions=raw._replace(**{name: getattr(leaves, name) for name in Leaves._fields[:3]}),
        boxes=leaves.boxes,
        target_boxes=near,
        target_deltas=torch.randn(*positive.shape, 4),
        target_scores=nn.functional.one_hot(labels, classes) * positive[..., None].float(),
        labels=labels,
        positive=positive.float(),
        counted=torch.tensor([[float(state != "i") for state in image] for image in images]),
    )


def matched_for(term: nn.Module, *images: str) -> Matched:
    """The same, with what the term wants: background, Gaussians of the sides, or points."""
    given = matched(*images)
    if getattr(term, "deltas", None) == "point":
        deltas = torch.randn(*given.labels.shape, 2, requires_grad=True)
        given = given._replace(
            predictions=given.predictions._replace(deltas=deltas),
            target_deltas=given.target_deltas[..., :2],
        )
    if getattr(term, "deltas", None) == "gaussian":
        deltas = torch.randn(*given.labels.shape, 8, requires_grad=True)
        given = given._replace(predictions=given.predictions._replace(deltas=deltas))
    if not getattr(term, "needs_background", False):
        return given
    logits = torch.randn(*given.labels.shape, 1 + CLASSES, requires_grad=True)
    return given._replace(predictions=given.predictions._replace(logits=logits))


def value(term: nn.Module, given: Matched, divisor: Tensor | None = None) -> Tensor:
    """The scalar that a criterion makes of the term; images are divided by [B], or not at all."""
    return total(term(given), torch.ones(len(given.boxes)) if divisor is None else divisor)


def gradients(term: nn.Module, given: Matched) -> Leaves:
    """Of the term's loss with respect to all that was predicted, zero where it does not look."""
    raw = given.predictions
    leaves = Leaves(raw.logits, raw.deltas, raw.quality, given.boxes)
    return Leaves(*torch.autograd.grad(value(term, given), leaves, materialize_grads=True))


def image_of(given: Matched, image: int) -> Matched:
    """One image alone, with its own normaliser."""
    rows = slice(image, image + 1)
    raw = given.predictions
    own = raw._replace(logits=raw.logits[rows], deltas=raw.deltas[rows], quality=raw.quality[rows])
    return Matched(own, *(None if field is None else field[rows] for field in given[1:]))
