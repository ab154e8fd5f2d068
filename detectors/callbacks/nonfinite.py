"""Stops training at the first loss that is not finite."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor


class NonFiniteStop(Callback):
    """Raises `FloatingPointError` that names the step, the loss term and the learning rate.

    The first bad step of every term is kept on the device and read every `every` steps, so that an
    accelerator does not wait for the check; on a CPU reading costs nothing and is done each step.
    It is also read before every validation and before the checkpoint at the end of an epoch.
    """

    def __init__(self, every: int = 50) -> None:
        self.every = every
        self.names: tuple[str, ...] = ()
        self.first_bad: Tensor | None = None  # [terms] step, or -1
        self.rates: dict[int, float] = {}  # learning rate of each step since the last look

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Notes the step's terms and learning rate; looks at them where or when that is cheap."""
        step = trainer.fit_loop.total_batch_idx
        # The schedule has moved on by now; `_last_lr` would be the next step's.
        self.rates[step] = self._rate
        self._record(outputs["terms"], step)
        if self._costs_nothing(pl_module) or len(self.rates) >= self.every:
            self._look()

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        self._rate = float(optimizer.param_groups[0]["lr"])

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.first_bad, self.rates = None, {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look()

    @staticmethod
    def _costs_nothing(module: LightningModule) -> bool:
        return module.device.type == "cpu"

    def _record(self, terms: dict[str, Tensor], step: int) -> None:
        self.names = tuple(terms)
        finite = torch.stack(list(terms.values())).isfinite()
        if self.first_bad is None:
            self.first_bad = torch.full_like(finite, -1, dtype=torch.long)
        self.first_bad = torch.where((self.first_bad < 0) & ~finite, step, self.first_bad)

    def _look(self) -> None:
        if self.first_bad is None:
            return
        bad = {n: s for n, s in zip(self.names, self.first_bad.tolist(), strict=True) if s >= 0}
        if bad:
            step = min(bad.values())
            terms = ", ".join(name for name, first in bad.items() if first == step)
            raise FloatingPointError(
                f"loss term {terms} is not finite at training step {step} "
                f"(learning rate {self.rates.get(step, self._rate):.3g}). Lower "
                "optimizer.lr, lengthen warmup.length or set trainer.gradient_clip_val."
            )
        self.rates = {}
