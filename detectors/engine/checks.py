"""Refuses runs whose parts do not fit together, before any data is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from torch import nn

from detectors.callbacks import Checking
from detectors.detector import Detector
from detectors.fitted.detector import FittedDetector
from detectors.tricks import BatchTrick

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def check_callbacks(trainer: Trainer) -> None:
    """Let every callback that has a `check` look at the trainer, before any data is read.

    Raises:
        ValueError: a callback would be without effect, or in the way.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Checking):
            callback.check(trainer)


def check_validation(trainer: Trainer) -> None:
    """Refuse a training whose end would have nothing to report.

    Raises:
        ValueError: it validates on no batch.
    """
    if trainer.limit_val_batches == 0:
        raise ValueError(
            "trainer.limit_val_batches=0: nothing would be validated, so there would be no result: "
            "leave a few batches, such as trainer.limit_val_batches=1"
        )


def check_canvases(detector: Detector, canvases: set[tuple[int, int]]) -> None:
    """Refuse images of another size, or of several, where the head is made for one.

    Raises:
        ValueError: names the size and those of the data.
    """
    only = detector.head.only_canvas
    if only is not None and canvases != {only}:
        raise ValueError(
            f"the head is made for images of {only} (height, width), but they come in "
            f"{sorted(canvases)}: set image_size to that, without trick=multiscale or "
            "multiscale_tta"
        )


def check_tta(
    tta: Callable[[Detector], Any] | None,
    detector: Detector,
    canvases: set[tuple[int, int]],
) -> None:
    """Refuse sizes at which a part of the detector cannot be asked.

    Raises:
        ValueError: as `check_canvases`.
    """
    if tta is not None:
        asked = tta(detector)
        check_canvases(detector, {size for canvas in canvases for size in asked.canvases(canvas)})


def asked_in(detector: nn.Module, precision: str | int) -> str | int:
    """The number format in which a detector is asked: a fitted model always in float32.

    Raises:
        ValueError: another one is said for it.
    """
    if not isinstance(detector, FittedDetector):
        return precision
    if precision not in ("auto", "32-true", 32):
        raise ValueError(f"precision={precision}: a fitted model computes in float32; leave it out")
    return "32-true"


def check_batch_tricks(
    tricks: Mapping[str, BatchTrick], detector: Detector, canvas: tuple[int, int]
) -> None:
    """Refuse tricks that mean nothing for the detector.

    Raises:
        ValueError: names the trick and the reason.
    """
    for name, trick in tricks.items():
        try:
            trick.check(detector, canvas)
        except ValueError as error:
            raise ValueError(f"batch_tricks.{name}: {error}") from error


def check_classes(cfg: DictConfig) -> None:
    """Refuse a model of another number of classes than its data have.

    Raises:
        ValueError: the two numbers differ.
    """
    if cfg.num_classes != cfg.data.num_classes:
        if file := OmegaConf.select(cfg, "part.cfg"):
            raise ValueError(
                f"{file} has classes={cfg.num_classes}, but the data have {cfg.data.num_classes}: "
                "write that into its detection layers, and what follows into filters (or output) "
                "of the layer before each, or choose other data"
            )
        raise ValueError(
            f"num_classes={cfg.num_classes}, but the data have data.num_classes="
            f"{cfg.data.num_classes}: leave num_classes out, the data decide"
        )


DETECTION = "detectors.data.module.DetectionData"
CLASSIFICATION = "detectors.classification.imagefolder.ImageFolder"


def check_data(cfg: DictConfig, other: str, nature: str) -> None:
    """Refuse data of another command.

    Args:
        other: the `_target_` of those data.
        nature: what they have and where they belong.

    Raises:
        ValueError: the config's data have that target.
    """
    if cfg.data.get("_target_") == other:
        raise ValueError(f"data={HydraConfig.get().runtime.choices['data']}: {nature}")


def check_debug(cfg: DictConfig) -> None:
    """Refuse a debug run that would be taken for a real one.

    Raises:
        ValueError: the file of the group `debug` that was chosen does not say so in the config.
    """
    choice = HydraConfig.get().runtime.choices.get("debug")
    if choice and not cfg.get("debug"):
        raise ValueError(
            f"debug={choice}: its file must have the line `debug: {choice}` below "
            "`# @package _global_`, by which studies know that such a run is no result"
        )
