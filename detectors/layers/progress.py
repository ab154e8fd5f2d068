"""Tells parts what only the run that trains them knows: how far it is, what it trains on."""

from functools import cache
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook

from detectors.structures import Progress


class Timed(nn.Module):
    """A part that changes from one batch of training to the next; an interface.

    Whoever trains the part calls `tell` before every batch; `LitDetector` and `LitClassifier` do so
    by themselves. What a part remembers of the time belongs into buffers, so that a compiled step
    reads it and is not compiled anew; buffers that follow from the progress need not be saved.
    """

    told = False  # of the batch that is trained on; no longer when an optimiser has made a step
    late = False  # whether an optimiser has made a step since it was told

    def begin(self, progress: Progress) -> None:
        """A batch of training begins."""
        raise NotImplementedError

    def require_progress(self) -> None:
        """Refuse to be trained without having been told of the batch; for use in `forward`.

        In evaluation mode and without gradients nothing is trained.

        Raises:
            ValueError: says how to tell it.
        """
        if self.training and torch.is_grad_enabled() and not self.told:
            told = (
                "was told no more since an optimiser made a step" if self.late else "was never told"
            )
            raise ValueError(
                f"{type(self).__name__} changes as training goes on, but {told} how far it "
                "is: before each batch call detectors.layers.progress.tell(detector, "
                "Progress(images_seen=..., step=..., steps=...)), Progress from "
                "detectors.structures, or train with LitDetector. To see a loss without training, "
                "call detector.eval() or use torch.no_grad()"
            )


class Remembering(nn.Module):
    """A part that needs more than its buffers to go on exactly where it stopped; an interface."""

    def memory(self) -> Any:
        """What a checkpoint keeps: tensors in plain containers; empty if nothing is to be kept."""
        raise NotImplementedError

    def recall(self, memory: Any) -> None:
        """Go on from what `memory` gave, on whatever device the part is now."""
        raise NotImplementedError


class Demanding(nn.Module):
    """A part that cannot be trained in every way; an interface."""

    def check(self, mini_batches: int, compiled: bool) -> None:
        """Refuse a run in which the part means nothing or does not work.

        Args:
            mini_batches: how many batches each optimiser step accumulates.
            compiled: whether the loss is a compiled graph.

        Raises:
            ValueError: the reason and the remedy.
        """
        raise NotImplementedError


class Counting(nn.Module):
    """A part that depends on how many objects of each class are trained on; an interface.

    Whoever trains the part calls `tell_counts` once; `LitDetector` does so by itself.
    """

    counted = False

    def count(self, objects: Tensor) -> None:
        """Take the number of objects of each class, [C], in the training split."""
        raise NotImplementedError

    def require_counts(self) -> None:
        """Refuse to be trained without the numbers; for use in `forward`.

        Raises:
            ValueError: says how to tell them.
        """
        if self.training and torch.is_grad_enabled() and not self.counted:
            raise ValueError(
                f"{type(self).__name__} depends on the number of objects of each class, but was "
                "never told: call detectors.layers.progress.tell_counts(detector, objects) with a "
                "tensor [classes], or train with LitDetector. To see a loss without training, call "
                "detector.eval() or use torch.no_grad()"
            )


def tell(network: nn.Module, progress: Progress) -> None:
    """Tell every `Timed` part of the network that a batch of training begins.

    Whoever takes `detector.loss` in a loop of their own calls this before each batch:

        tell(detector, Progress(images_seen=(step + 1) * len(images), step=step, steps=1000))

    If a step accumulates several batches, `mini_batch` and `mini_batches` say which one this is.

    Raises:
        ValueError: the step does not lie within the run.
    """
    if progress.steps < 1 or not 0 <= progress.step <= progress.steps:
        raise ValueError(
            f"found step={progress.step} of steps={progress.steps}: expected 0 <= step <= steps, "
            "the number of steps made before this one and that of the whole run"
        )
    parts = _timed(network)
    for part in parts:
        part.begin(progress)
        part.told = True
    if parts:
        _listen()
        _TOLD.add(network)


def _timed(network: nn.Module) -> list[Timed]:
    return [part for part in network.modules() if isinstance(part, Timed)]


_TOLD: WeakSet[nn.Module] = WeakSet()  # networks whose parameters no optimiser has changed since


@cache
def _listen() -> None:
    register_optimizer_step_post_hook(_stepped)


def _stepped(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
    """The parts of networks that the optimiser has changed have to be told of another batch."""
    changed = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for network in [n for n in _TOLD if any(id(p) in changed for p in n.parameters())]:
        _TOLD.discard(network)
        for part in _timed(network):
            part.told, part.late = False, True


def tell_counts(network: nn.Module, objects: Tensor) -> None:
    """Tell every `Counting` part of the network how many objects of each class there are, [C]."""
    for part in network.modules():
        if isinstance(part, Counting):
            part.count(objects)
            part.counted = True


def check_demands(network: nn.Module, mini_batches: int, compiled: bool) -> None:
    """Let every `Demanding` part of the network look at the run; arguments as its `check`.

    Raises:
        ValueError: the run does not suit a part.
    """
    for part in network.modules():
        if isinstance(part, Demanding):
            part.check(mini_batches, compiled)
