"""Draws detections beside the ground truth."""

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from detectors.files import whole_file
from detectors.ranges import Count
from detectors.structures import Batch, Detections
from detectors.visualization.pictures import side_by_side


class Pictures(Callback):
    """Writes the first `count` images of every evaluation: ground truth left, detections right.

    Each evaluation overwrites those of the one before; the last is that of the best checkpoint.
    """

    def __init__(self, folder: str, count: Count = 8) -> None:
        self.folder = Path(folder)
        self.count = count
        self.written = 0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.written = 0

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.written = 0

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if trainer.is_global_zero and self.written < self.count:
            self._write(batch, outputs["detections"], trainer.datamodule.classes)  # type: ignore[attr-defined]

    on_test_batch_end = on_validation_batch_end

    def _write(self, batch: Batch, detections: Detections, classes: tuple[str, ...]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for index in range(min(len(batch.images), self.count - self.written)):
            picture = side_by_side(batch, detections, index, classes)
            with whole_file(self.folder / f"{int(batch.ids[index]):06d}.png", "wb") as file:
                picture.save(file, format="png")
            self.written += 1
