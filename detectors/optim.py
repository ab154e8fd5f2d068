"""Makes optimisers over named groups of parameters, and schedules of the learning rate.

A length of training is a share of the run below 1, and a number of optimiser steps from 1 on.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from detectors.backbones.depth import stages_of
from detectors.ranges import Positive, Share, Weight


class Network(Protocol):
    """What is optimised: a backbone and the rest, such as a `Detector` or a `Classifier`."""

    backbone: nn.Module

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All parameters; names of the backbone's begin with "backbone."."""
        ...


def build_optimizer(
    module: Network,
    algorithm: Callable[..., Optimizer],
    lr: Positive,
    weight_decay: Weight = 0.0,
    backbone_lr_factor: Positive = 1.0,
    bias_lr_factor: Positive = 1.0,
    backbone_lr_decay: Positive = 1.0,
) -> Optimizer:
    """`algorithm` over the `parameter_groups` of `module`.

    Args:
        algorithm: called with the groups and `lr`, such as a partial of `torch.optim.SGD`.
        backbone_lr_factor: multiplies the learning rate of everything in `module.backbone`.
        bias_lr_factor: multiplies that of every bias; 2 in caffe's models and in Detectron.
        backbone_lr_decay: multiplies that of each stage of the backbone, once for the stage itself
            and once for every later one (BEiT, Bao et al. 2021, layer-wise learning rates).

    Raises:
        ValueError: nothing is trainable.
    """
    groups = parameter_groups(
        module, lr, weight_decay, backbone_lr_factor, bias_lr_factor, backbone_lr_decay
    )
    return algorithm(groups, lr=lr)


def parameter_groups(
    module: Network,
    lr: Positive,
    weight_decay: Weight,
    backbone_lr_factor: Positive = 1.0,
    bias_lr_factor: Positive = 1.0,
    backbone_lr_decay: Positive = 1.0,
) -> list[dict[str, Any]]:
    """Groups for a torch optimiser, each with a `name`; frozen parameters are left out.

    Scalars and vectors are not decayed: scale and shift of norms, biases, learnt scales. Biases
    have a group of their own only if their learning rate differs, and so have the stages of the
    backbone, counted from the image: "backbone/0/plain".

    Raises:
        ValueError: nothing is trainable.
    """
    places = _places(module, backbone_lr_factor, backbone_lr_decay)
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        place, factor = places.get(name, ("rest", 1.0))
        decayed = parameter.ndim > 1
        bias = bias_lr_factor != 1 and name.rpartition(".")[2] == "bias"
        rate = lr * factor
        group = groups.setdefault(
            f"{place}/{'bias' if bias else 'decayed' if decayed else 'plain'}",
            {
                "params": [],
                "lr": rate * (bias_lr_factor if bias else 1.0),
                "weight_decay": weight_decay if decayed else 0.0,
            },
        )
        group["params"].append(parameter)
    if not groups:
        raise ValueError("every parameter is frozen, there is nothing to train: unfreeze a part")
    return [{"name": name, **group} for name, group in groups.items()]


def _places(module: Network, factor: float, decay: float) -> dict[str, tuple[str, float]]:
    """The group of each parameter of the backbone, and the factor of its learning rate."""
    backbone = module.backbone
    if decay == 1:
        return {f"backbone.{name}": ("backbone", factor) for name, _ in backbone.named_parameters()}
    stages = stages_of(backbone)
    return {
        f"backbone.{name}": (f"backbone/{index}", factor * decay ** (len(stages) - index))
        for index, stage in enumerate(stages)
        for name in stage
    }


@dataclass(frozen=True)
class Warmup:
    """How the learning rate rises at the start of a run.

    At step s of the W first, the factor is `start + (1 - start) * (s / W) ** power`.

    Args:
        length: share of the run below 1, steps from 1 on; 0 is no warm-up.
        start: factor of the first step.
        power: 1 is linear; 4 darknet's burn-in, there one step further on; inf stays at `start`.

    Raises:
        ValueError: an argument is out of its range.
    """

    length: float = 0.0
    start: float = 0.0
    power: float = 1.0

    def __post_init__(self) -> None:
        if self.length < 0 or self.power <= 0 or not 0 <= self.start <= 1:
            raise ValueError(f"expected length >= 0, power > 0 and start in [0, 1], found {self}")

    def steps(self, total_steps: int) -> int:
        """Steps of the warm-up in a run of `total_steps`.

        Raises:
            ValueError: the warm-up would not end within the run.
        """
        steps = steps_of(self.length, total_steps)
        if steps > total_steps:
            raise ValueError(
                f"the warm-up takes {steps} steps, but the run has only {total_steps}: lower "
                "warmup.length (below 1 it is a share of the run) or train longer"
            )
        return steps

    def factor(self, step: int, total_steps: int) -> float:
        steps = self.steps(total_steps)
        if step >= steps:
            return 1.0
        return self.start + (1 - self.start) * (step / steps) ** self.power


NO_WARMUP = Warmup()


def constant(optimizer: Optimizer, total_steps: int, warmup: Warmup = NO_WARMUP) -> LambdaLR:
    """The same learning rate after the warm-up."""
    return _schedule(optimizer, total_steps, warmup, lambda step: 1.0)


def cosine(
    optimizer: Optimizer,
    total_steps: int,
    warmup: Warmup = NO_WARMUP,
    final: Share = 0.0,
    tail: Weight = 0.0,
) -> LambdaLR:
    """Half a cosine from the end of the warm-up to the factor `final` at the end of the run.

    Loshchilov and Hutter 2017, eq. 5, without restarts.

    Args:
        tail: length of training at the end that stays at `final` (YOLOX).

    Raises:
        ValueError: the tail begins before the warm-up is over.
    """
    falling = total_steps - steps_of(tail, total_steps)
    if falling < warmup.steps(total_steps):
        raise ValueError(
            f"the last {total_steps - falling} of {total_steps} steps stay at the final rate, but "
            f"the warm-up takes {warmup.steps(total_steps)}: lower schedule.tail or warmup.length"
        )

    def factor(step: int) -> float:
        progress = _progress(step, total_steps, warmup, falling)
        return final + (1 - final) * (1 + math.cos(math.pi * progress)) / 2

    return _schedule(optimizer, total_steps, warmup, factor)


def poly(
    optimizer: Optimizer,
    total_steps: int,
    warmup: Warmup = NO_WARMUP,
    power: float = 1.0,
    final: Share = 0.0,
) -> LambdaLR:
    """`(1 - progress) ** power` from the end of the warm-up to `final`; 1 is a straight line."""

    def factor(step: int) -> float:
        progress = _progress(step, total_steps, warmup)
        return final + (1 - final) * (1 - progress) ** power

    return _schedule(optimizer, total_steps, warmup, factor)


def step(
    optimizer: Optimizer,
    total_steps: int,
    warmup: Warmup = NO_WARMUP,
    milestones: Sequence[float] = (2 / 3, 8 / 9),
    gamma: Share = 0.1,
) -> LambdaLR:
    """Multiplied by `gamma` at every milestone.

    Args:
        milestones: each a share of the run below 1, a step from 1 on.

    Raises:
        ValueError: a milestone lies outside of the run.
    """
    steps = [steps_of(milestone, total_steps) for milestone in milestones]
    outside = [place for place in steps if not 0 <= place <= total_steps]
    if outside:
        raise ValueError(
            f"milestones at steps {outside}, but the run has {total_steps}: change "
            "schedule.milestones (below 1 they are shares of the run) or train longer"
        )

    def factor(now: int) -> float:
        return gamma ** sum(now >= place for place in steps)

    return _schedule(optimizer, total_steps, warmup, factor)


def rising(
    optimizer: Optimizer, total_steps: int, start: Positive = 1e-7, end: Positive = 10.0
) -> LambdaLR:
    """From `start` at the first step to `end` at the last, by the same factor each time.

    For a range test of the learning rate (Smith 2017, sec. 3.3, where it rises on a straight line).
    Rates that are multiples of the optimiser's stay so.
    """
    growth = (end / start) ** (1 / max(total_steps - 1, 1))
    first = start / optimizer.defaults["lr"]
    return _schedule(optimizer, total_steps, NO_WARMUP, lambda step: first * growth**step)


def _schedule(
    optimizer: Optimizer, total_steps: int, warmup: Warmup, factor: Callable[[int], float]
) -> LambdaLR:
    """Stepped after each optimiser step; the factor depends on nothing but the step."""
    warmup.steps(total_steps)
    return LambdaLR(optimizer, lambda step: warmup.factor(step, total_steps) * factor(step))


def _progress(step: int, total_steps: int, warmup: Warmup, end: int | None = None) -> float:
    """[0, 1]: 0 until the warm-up is over, 1 at the end of the run, or at `end`, and after."""
    start, end = warmup.steps(total_steps), total_steps if end is None else end
    return min(max(step - start, 0) / max(end - start, 1), 1.0)


def steps_of(length: float, total_steps: int) -> int:
    """Optimiser steps of a length of training, in a run of `total_steps`."""
    return round(length * total_steps) if length < 1 else round(length)
