"""Serves norms that look back on earlier iterations."""

import logging
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from detectors.layers.cross_iteration import CrossIterationNorm, Past, follow

_log = logging.getLogger(__name__)


class ServeCrossIterations(Callback):
    """Tells every `CrossIterationNorm` its convolution, and checkpoints what it looks back on.

    Raises:
        ValueError: at the start of training, on a compiled loss, which has no slopes of its own.
    """

    def __init__(self) -> None:
        self.stored: dict[str, list[Past]] = {}
        self.norms: dict[str, CrossIterationNorm] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if pl_module.compiled:
            raise ValueError("norm=cbn takes slopes within a step: set compile=false")
        self._pair(trainer, pl_module)
        for name, norm in self.norms.items():
            device, window = norm.weight.device, self.stored.get(name, [])
            norm.past = [Past(*(field.to(device) for field in past)) for past in window]

    def _pair(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """An empty image is passed through; what the modules are doing stays as it is."""
        detector: Any = pl_module.detector
        parts = dict(detector.named_modules())
        self.norms = {n: p for n, p in parts.items() if isinstance(p, CrossIterationNorm)}
        modes = {part: part.training for part in parts.values()}
        height, width = min(trainer.datamodule.canvases())  # type: ignore[attr-defined]
        empty = torch.zeros(1, 3, height, width, dtype=torch.uint8, device=pl_module.device)
        with torch.no_grad():
            without = follow(detector, lambda: detector.eval()(empty))
        for part, mode in modes.items():
            part.training = mode
        if without:
            _log.warning("norm=cbn: batch norm of each iteration alone in %s", ", ".join(without))

    def state_dict(self) -> dict[str, Any]:
        return {name: [tuple(past) for past in norm.past] for name, norm in self.norms.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.stored = {
            name: [Past(*past) for past in window] for name, window in state_dict.items()
        }
