"""Stops training at the first loss or gradient that is not finite."""

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from detectors.ranges import Count


class NonFiniteStop(Callback):
    """Raises `FloatingPointError` that names the step, the learning rate and what is not finite.

    That is a loss term or, where all terms of the step are finite, the gradient of a parameter: of
    several the last one of the network, for there a backward pass begins. Gradients that a scaler
    of float16 looks after are not judged.

    The first bad step of each is kept on the device and read every `every` steps, so that an
    accelerator does not wait for the check; on a CPU reading costs nothing and is done each step.
    It is also read before every validation and before the checkpoint at the end of an epoch.
    """

    def __init__(self, every: Count = 50) -> None:
        self.every = every
        self.terms, self.gradients = _FirstBad(), _FirstBad()
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
        self.terms.record(outputs["terms"], step)
        if self._costs_nothing(pl_module) or len(self.rates) >= self.every:
            self._look(trainer)

    def on_before_optimizer_step(
        self, trainer: Trainer, pl_module: LightningModule, optimizer: Any
    ) -> None:
        """Notes the gradients before they are clipped, which would spoil all for one."""
        self._rate = float(optimizer.param_groups[0]["lr"])
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            self.gradients.record(_gradients(pl_module), trainer.fit_loop.total_batch_idx)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._rate = float(trainer.optimizers[0].param_groups[0]["lr"])
        self.terms, self.gradients, self.rates = _FirstBad(), _FirstBad(), {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._look(trainer)

    @staticmethod
    def _costs_nothing(module: LightningModule) -> bool:
        return module.device.type == "cpu"

    def _look(self, trainer: Trainer) -> None:
        (of_terms, terms), (of_gradients, names) = self.terms.found(), self.gradients.found()
        if terms and (not names or of_terms <= of_gradients):
            raise FloatingPointError(
                f"loss term {', '.join(terms)} is not finite {self._when(of_terms)}. Lower "
                "optimizer.lr, lengthen warmup.length or set trainer.gradient_clip_val."
            )
        if names:
            others = f", and of {len(names) - 1} parameters more," if len(names) > 1 else ""
            raise FloatingPointError(
                f"the gradient of {names[-1]}{others} is not finite {self._when(of_gradients)}, "
                f"though the loss is: computing it in {trainer.precision} overflowed. Set "
                "precision=32-true, or lower optimizer.lr if it is that already."
            )
        self.rates = {}

    def _when(self, step: int) -> str:
        return f"at training step {step} (learning rate {self.rates.get(step, self._rate):.3g})"


class _FirstBad:
    """The first step at which each of some named numbers was not finite, kept on their device."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.steps: Tensor | None = None  # [names] or -1

    def record(self, values: dict[str, Tensor], step: int) -> None:
        """Of scalars that have the same names at every step."""
        if not values:
            return
        finite = torch.stack(list(values.values())).isfinite()
        if self.steps is None:
            self.names, self.steps = tuple(values), torch.full_like(finite, -1, dtype=torch.long)
        self.steps = torch.where((self.steps < 0) & ~finite, step, self.steps)

    def found(self) -> tuple[int, list[str]]:
        """The first step at which any was not finite, and the names of these; -1 if none was."""
        steps = [] if self.steps is None else self.steps.tolist()
        first = min((step for step in steps if step >= 0), default=-1)
        names = zip(self.names, steps, strict=True)
        return first, [name for name, step in names if 0 <= step == first]


@torch.no_grad()
def _gradients(module: LightningModule) -> dict[str, Tensor]:
    """A norm of the gradient of each parameter, finite where that is; 0 where there is none.

    That is the largest absolute value. On a CPU it takes twenty times as long as the square norm,
    which overflows for finite values above 1e19, and therefore is not believed where it does.
    """
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    grads = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    norms = _norms(list(grads.values())) if grads else ()
    found = dict(zip(grads, norms, strict=True))
    return {name: found.get(name, p.new_zeros(())) for name, p in parameters.items()}


def _norms(grads: list[Tensor]) -> tuple[Tensor, ...]:
    if grads[0].device.type == "cpu":
        squares = torch._foreach_norm(grads, 2)
        if torch.stack(squares).isfinite().all():
            return squares
    return torch._foreach_norm(grads, float("inf"))
