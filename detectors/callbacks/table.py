"""Writes a table with a row for every epoch, and draws its curves."""

import csv
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from detectors.files import whole_file
from detectors.visualization.curves import draw


class EpochTable(Callback):
    """Writes `metrics.csv`: losses averaged over each epoch, learning rate and validation metrics.

    The rows live in the checkpoint too, so a resumed run writes the whole table, in a new folder as
    well as in the old one. When training ends, however it ends, `curves.png` is drawn.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.rows: list[dict[str, float]] = []
        self.validated = False  # in this epoch

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated = not trainer.sanity_checking

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        metrics = trainer.callback_metrics.items()
        named = {n: float(v) for n, v in sorted(metrics, key=_place) if self._of_this_epoch(n)}
        self.validated = False
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, **named}
        self.rows = [*self.rows, row]
        if trainer.is_global_zero:
            self._write()

    def _of_this_epoch(self, name: str) -> bool:
        """Lightning keeps the last value of each metric, also of an earlier validation."""
        return not name.endswith(("_step", "_epoch")) and (
            self.validated or name.startswith("train/")
        )

    def _write(self) -> None:
        columns = {name: None for row in self.rows for name in row}
        with whole_file(self.folder / "metrics.csv") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            writer.writerows(self.rows)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and self.rows:
            draw(self.folder, self.folder / "curves.png")

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict["rows"])


def _place(metric: tuple[str, Any]) -> tuple[bool, bool]:
    """Losses come first, then the learning rate and the validation, whatever was known first."""
    return not metric[0].startswith("train/"), metric[0] == "train/lr"
