"""Lets optimisers take a step in one pass over memory, as torch's fused ones do."""

from lightning.pytorch import LightningModule
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer


class FusedSteps(LightningModule):
    """Clips gradients for fused optimisers too, which Lightning refuses under mixed precision.

    Its reason is a scaler of float16, which a fused optimiser works into its own step, too late for
    clipping. So with a scaler no optimiser is fused, and without one gradients are what they are.
    """

    def stepping(self, optimizer: Optimizer) -> Optimizer:
        """The optimiser itself, not fused if a scaler looks after the gradients."""
        if self._has_scaler():
            optimizer._step_supports_amp_scaling = False  # type: ignore[attr-defined]
            for group in optimizer.param_groups:
                group["fused"] = False
        return optimizer

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: int | float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clips all gradients together by their norm, or each by its value."""
        fused = getattr(optimizer, "_step_supports_amp_scaling", False)
        if not (fused and gradient_clip_val):
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)
            return
        clip = clip_grad_value_ if gradient_clip_algorithm == "value" else clip_grad_norm_
        clip([p for group in optimizer.param_groups for p in group["params"]], gradient_clip_val)

    def _has_scaler(self) -> bool:
        return getattr(self.trainer.precision_plugin, "scaler", None) is not None
