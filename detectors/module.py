"""Trains, validates and checkpoints any detector: the LightningModule of detection."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from lightning.pytorch import Callback, LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from detectors.clock import Clock, optimizer_steps
from detectors.data.module import DetectionData
from detectors.detector import Detector
from detectors.epoch_means import EpochMeans, numbers_due
from detectors.fused_steps import FusedSteps
from detectors.metrics import COCO_AND_VOC, DetectionMetric, Scores
from detectors.random_streams import torch_seed
from detectors.structures import CHECKPOINT_FORMAT, Annotations, Batch, Detections
from detectors.tricks import BatchTrick

GRAPHS = 8  # of a canvas, for the numbers of rows that padded targets have


class LitDetector(FusedSteps):
    """A detector with its optimiser, schedule and metric, for any Lightning `Trainer`.

    Args:
        detector: what is trained.
        optimizer: called with the detector; needed for training only, like the schedule.
        schedule: called with the optimiser and the number of optimiser steps of the whole run.
        seed: all randomness on the device is a function of (seed, epoch, batch, rank).
        config: plain containers from which `detectors evaluate` rebuilds the model; stored in
            every checkpoint.
        channels_last: keep images and weights in the layout that convolutions are fastest in.
        compiled: train on `torch.compile(detector.loss)`; one graph for each padded target size.
            "all": its validations run as graphs, too, one for each number of pictures.
        batch_tricks: change a batch on the device, one after the other, before its loss.
        tta: `(detector) -> module` that is evaluated in its place, one of `detectors.tta`.
        metrics: what evaluations report, by name; the numbers of each are logged as "val/NUMBER".

    Raises:
        ValueError: validations shall be compiled, but not the detector alone is evaluated.
    """

    def __init__(
        self,
        detector: Detector,
        optimizer: Callable[[nn.Module], Optimizer] | None = None,
        schedule: Callable[[Optimizer, int], LRScheduler] | None = None,
        seed: int = 0,
        config: dict[str, Any] | None = None,
        channels_last: bool = True,
        compiled: bool | Literal["all"] = False,
        batch_tricks: Mapping[str, BatchTrick] | None = None,
        tta: Callable[[Detector], nn.Module] | None = None,
        metrics: Mapping[str, Scores] = COCO_AND_VOC,
    ) -> None:
        super().__init__()
        if compiled == "all" and tta is not None:
            raise ValueError(
                "compile=all: no test-time augmentation is compiled: say compile=true or tta=null"
            )
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.detector = detector.to(memory_format=self.memory_format)
        self.optimizer, self.schedule = optimizer, schedule
        self.seed, self.config, self.compiled = seed, config or {}, compiled
        self.batch_tricks, self.tta = dict(batch_tricks or {}), tta
        self.clock, self.means = Clock(bool(compiled)), EpochMeans()
        self.detect: Callable[..., Detections] | None = None  # the detector as graphs
        self.metrics = dict(metrics)
        self.evaluations: dict[str, DetectionMetric] = {}  # no parts of the module: never averaged

    def configure_callbacks(self) -> list[Callback]:
        """The clock and the means of the losses, whatever callbacks the trainer has."""
        return [self.clock, self.means]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        assert self.optimizer is not None
        assert self.schedule is not None
        optimizer = self.stepping(self.optimizer(self.detector))
        schedule = self.schedule(optimizer, optimizer_steps(self.trainer))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_fit_start(self) -> None:
        # As late as this, because averaging callbacks deep-copy the module in their set-up.
        self.loss = self.detector.loss
        if self.compiled:
            torch.compiler.reset()  # graphs of earlier jobs would count against the limit
            self.loss = torch.compile(self.loss, dynamic=False)
            allow_graphs(GRAPHS * len(self.trainer.datamodule.canvases()))  # type: ignore[attr-defined]
        if self.compiled == "all":
            self.detect = torch.compile(self.detector.forward, dynamic=False)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        """`loss`, the sum that is minimised, and `terms`, its detached summands by name."""
        batch = self._tricked(batch, batch_idx)
        seed = step_seed(self.seed, self.current_epoch, batch_idx, self.global_rank)
        seed_draws(seed, self.device)
        images = batch.images.contiguous(memory_format=self.memory_format)
        terms = self.loss(images, batch.targets, *batch.places)
        total = torch.stack(list(terms.values())).sum()
        detached = {name: term.detach() for name, term in terms.items()}
        self._log_losses({"loss": total.detach(), **detached}, len(batch.images))
        return {"loss": total, "terms": detached}

    def _tricked(self, batch: Batch, batch_idx: int) -> Batch:
        """The batch for the loss. What tricks draw does not change what the loss draws."""
        seed = step_seed(self.seed, self.current_epoch, batch_idx, rank=0)
        assert self.clock.progress is not None
        for trick in self.batch_tricks.values():
            batch = trick(batch, self.detector, self.clock.progress, seed)
        return batch

    def _log_losses(self, losses: dict[str, Tensor], images: int) -> None:
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.means.add(losses, images, rate)
        if numbers_due(self.trainer):
            self.log_dict({f"train/{name}_step": value for name, value in losses.items()})
            self.log("train/lr", rate)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Any]:
        return self._evaluate(batch, "test")

    def _evaluate(self, batch: Batch, split: str) -> dict[str, Any]:
        """`detections` of the batch, already given to the metrics; pictures are drawn from them."""
        images = batch.images.contiguous(memory_format=self.memory_format)
        detections = self._asked()(images, *batch.places)
        self.evaluations[split].update(detections, batch)
        return {"detections": detections}

    def _asked(self) -> Callable[..., Detections]:
        """The detector, or what is evaluated in its place."""
        if self.tta is not None:
            return self.tta(self.detector)  # made anew: a part would be averaged and saved twice
        fitting = self.trainer.state.fn == TrainerFn.FITTING  # else as `detectors evaluate` does
        return self.detect if fitting and self.detect is not None else self.detector

    @property
    def most_found(self) -> int | None:
        """Most objects of an image that an evaluation can find; None: unknown."""
        found = getattr(self.detector, "most_found", None)  # what stands there need not tell
        return found if self.tta is None else None  # more views may find more

    def on_validation_epoch_start(self) -> None:
        self._start_metric("val")

    def on_test_epoch_start(self) -> None:
        self._start_metric("test")

    def _start_metric(self, split: str) -> None:
        annotations = self.trainer.datamodule.annotations(split)  # type: ignore[attr-defined]
        self.evaluations[split] = DetectionMetric(annotations, self.metrics).to(self.device)

    def on_validation_epoch_end(self) -> None:
        self._log_metric("val")

    def on_test_epoch_end(self) -> None:
        self._log_metric("test")

    def _log_metric(self, split: str) -> None:
        values = self.evaluations[split].compute()  # gathers over all devices: every rank has them
        scalars = {f"{split}/{name}": float(value) for name, value in values.items()}
        self.log_dict(scalars, rank_zero_only=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self.described(self.trainer.datamodule))  # type: ignore[attr-defined]

    def described(self, data: Any) -> dict[str, Any]:
        """All that a checkpoint says beside weights and how far the run was."""
        return {
            "format": CHECKPOINT_FORMAT,
            "config": self.config,
            "classes": list(data.classes),
            "category_ids": list(data.annotations("val").category_ids),
        }


def allow_graphs(count: int) -> None:
    """Let torch compile a function for so many shapes; from its own limit on it would run eager."""
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, count)


def step_seed(seed: int, epoch: int, batch: int, rank: int) -> int:
    """Seed of everything a training step draws on the device, the same in a resumed run."""
    return torch_seed(seed, epoch, batch, rank, name="step on the device")


def seed_draws(seed: int, device: torch.device) -> None:
    """Seed what torch draws on a device, and on the CPU.

    Without a GPU in use, `torch.manual_seed` writes down who called it, which takes 0.4 ms.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


class LitData(LightningDataModule):
    """Detection data for any Lightning `Trainer`, which tells them the place of this process."""

    def __init__(self, data: DetectionData) -> None:
        super().__init__()
        self.data = data
        self._begun: DataLoader | None = None

    def setup(self, stage: str) -> None:
        """Reads the splits of the stage, so that what is wrong shows before the first step.

        Workers prepare the first batches of a training while the trainer makes the model ready and
        looks at the validation split.
        """
        assert self.trainer is not None
        self.data.place = (self.trainer.global_rank, self.trainer.world_size)
        self.data.setup(stage)
        if stage == "fit":
            self._begun = self.data.train_dataloader()
            self._begun.begin()

    def train_dataloader(self) -> DataLoader:
        return self._begun or self.data.train_dataloader()

    def teardown(self, stage: str) -> None:
        self._begun = None

    def val_dataloader(self) -> DataLoader:
        return self.data.val_dataloader()

    def test_dataloader(self) -> DataLoader:
        return self.data.test_dataloader()

    def predict_dataloader(self) -> DataLoader:
        return self.data.predict_dataloader()

    def annotations(self, split: str) -> Annotations:
        """The ground truth of "train", "val" or "test"."""
        return self.data.annotations(split)

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of every label."""
        return self.data.classes

    def canvases(self) -> set[tuple[int, int]]:
        """All (height, width) in pixels that batches may have."""
        return self.data.canvases()
