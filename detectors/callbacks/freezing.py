"""Freezes a backbone, or its first stages, at the start of training."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer

from detectors.backbones.depth import stages_of
from detectors.clock import optimizer_steps
from detectors.optim import steps_of


class FreezeBackbone(Callback):
    """Keeps the backbone's first stages as they are until some step.

    Their gradients are thrown away before they are clipped or reach the optimiser, which skips
    parameters without one: no decay, no momentum. So devices share gradients as always, and what is
    frozen at a step depends on the number of the step alone. Frozen stages are in evaluation mode:
    batch norms keep their statistics, nothing is dropped.

    Args:
        until: a share of the run below 1, optimiser steps from 1 on; None: all of the run.
        stages: how many, of `stages_of`; None: all.

    Raises:
        ValueError: an argument is out of its range; at the start, the backbone has fewer stages,
            or nothing in them would learn anyway.
    """

    def __init__(self, until: float | None = None, stages: int | None = None) -> None:
        if (until is not None and until <= 0) or (stages is not None and stages < 1):
            raise ValueError(f"expected until > 0 and stages >= 1, found {until} and {stages}")
        self.until, self.stages = until, stages
        self.end, self.parameters, self.parts = 0, list[nn.Parameter](), list[nn.Module]()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        backbone: Any = pl_module.detector.backbone  # type: ignore[union-attr]
        frozen = self._names(backbone)
        parameters = backbone.named_parameters()
        self.parameters = [p for name, p in parameters if name in frozen and p.requires_grad]
        if not self.parameters:
            raise ValueError("freeze_backbone: nothing in these stages learns: leave the trick out")
        whole = (part for part in backbone.modules() if _inside(part, self.parameters))
        self.parts = [part for outer in whole for part in outer.modules()]
        steps = optimizer_steps(trainer)
        self.end = steps if self.until is None else steps_of(self.until, steps)

    def _names(self, backbone: nn.Module) -> set[str]:
        stages = stages_of(backbone)
        if self.stages is not None and self.stages > len(stages):
            raise ValueError(
                f"freeze_backbone: stages={self.stages}, but this backbone has {len(stages)}"
            )
        return {name for stage in stages[: self.stages] for name in stage}

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        for part in self.parts:
            part.training = trainer.global_step >= self.end

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer
    ) -> None:
        if trainer.global_step < self.end:
            for parameter in self.parameters:
                parameter.grad = None


def _inside(part: nn.Module, parameters: list[nn.Parameter]) -> bool:
    """Whether all that learns in the part, which is something, is among the parameters."""
    known = {id(parameter) for parameter in parameters}
    own = [parameter for parameter in part.parameters() if parameter.requires_grad]
    return bool(own) and all(id(parameter) in known for parameter in own)
