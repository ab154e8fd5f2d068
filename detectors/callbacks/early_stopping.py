"""Ends training when validations no longer become better."""

import logging
from typing import Literal

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from detectors.ranges import Count, Weight

_log = logging.getLogger(__name__)


class PatienceStop(EarlyStopping):
    """Lightning's, which tells what it does to the schedule; a run that it has ended stays so.

    The schedule of the learning rate is planned for the whole run, so a run that ends early has not
    seen its low rates.

    Args:
        monitor: a metric of validations.
        patience: validations without a better one, after which training ends.
        min_delta: by which a validation must be better to count as such.
        mode: whether better is more or less.
    """

    def __init__(
        self,
        monitor: str,
        patience: Count = 5,
        min_delta: Weight = 0.0,
        mode: Literal["max", "min"] = "max",
    ) -> None:
        super().__init__(monitor, min_delta, patience, mode=mode)

    @property
    def stopped(self) -> bool:
        """Whether it has ended the run."""
        return self.stopping_reason != EarlyStoppingReason.NOT_STOPPED

    def check(self, trainer: Trainer) -> None:
        """Refuse a run that is over before the patience is."""
        every, epochs, share = (
            trainer.check_val_every_n_epoch,
            trainer.max_epochs,
            trainer.val_check_interval,
        )
        if every is None or epochs in (None, -1) or not isinstance(share, float):
            return
        assert epochs is not None
        validations = epochs // every * int(1 / share)
        if self.patience + 1 >= validations:
            raise ValueError(
                f"callback.early_stopping.patience={self.patience}: the run has {validations} "
                f"validations and can end early after {self.patience + 1} at the soonest: lower "
                "it, train longer, or leave early_stopping out"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tells what is planned; a resumed run that it had ended makes no step."""
        if self.stopped:
            trainer.should_stop = True
            _log.warning(
                "the run had been stopped early and cannot go on: start anew, from its weights by "
                "weights=FILE, or from the beginning with a higher callback.early_stopping.patience"
            )
            return
        _log.info(
            "training ends after %d validations without a better %s; the schedule of the learning "
            "rate is planned for all %s epochs",
            *(self.patience, self.monitor, trainer.max_epochs),
        )

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stopped and trainer.is_global_zero:
            _log.warning(
                "stopped early after epoch %d of %s, best %s %.4f: the learning rate was that of "
                "step %d in the plan, not that of its end",
                *(self.stopped_epoch + 1, trainer.max_epochs, self.monitor, self.best_score),
                trainer.global_step,
            )
