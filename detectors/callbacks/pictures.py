"""Draws detections beside the ground truth."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from PIL import Image

from detectors.callbacks.trackers import show
from detectors.files import whole_file
from detectors.ranges import Count, Whole
from detectors.structures import Batch, Detections
from detectors.visualization.pictures import side_by_side


class Pictures(Callback):
    """Writes the first `count` images of every evaluation: ground truth left, detections right.

    Each evaluation overwrites those of the one before; the last is that of the measured weights.
    Trackers keep them all.

    Args:
        folder: where the files are written.
        count: images of an evaluation.
        every: epochs from one that trackers get to the next; 0: they get none.
    """

    def __init__(self, folder: str, count: Count = 8, every: Whole = 1) -> None:
        self.folder = Path(folder)
        self.count, self.every = count, every
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
        """Writes pictures of the batch until there are enough, and gives them to trackers."""
        if trainer.is_global_zero and self.written < self.count:
            classes = trainer.datamodule.classes  # type: ignore[attr-defined]
            for number, picture in self._write(batch, outputs["detections"], classes):
                if self._told(trainer):
                    show(trainer.loggers, f"detections/{number}", picture, trainer.global_step)

    on_test_batch_end = on_validation_batch_end

    def _told(self, trainer: Trainer) -> bool:
        """Whether trackers get the pictures of this evaluation."""
        due = self.every and (trainer.current_epoch + 1) % self.every == 0
        return bool(due) and trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking

    def _write(
        self, batch: Batch, detections: Detections, classes: tuple[str, ...]
    ) -> Iterator[tuple[int, Image.Image]]:
        """Yields each picture that it has written, and its number."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for index in range(min(len(batch.images), self.count - self.written)):
            picture = side_by_side(batch, detections, index, classes)
            with whole_file(self.folder / f"{int(batch.ids[index]):06d}.png", "wb") as file:
                picture.save(file, format="png", compress_level=3)  # in a quarter of the time
            yield self.written, picture
            self.written += 1
