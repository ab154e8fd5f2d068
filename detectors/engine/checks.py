"""Refuses runs whose parts do not fit together, before any data is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from torch import nn

from detectors.detector import Detector
from detectors.tricks import BatchTrick

if TYPE_CHECKING:
    from lightning.pytorch import Trainer


def check_callbacks(trainer: Trainer) -> None:
    """Let every callback that has a `check` look at the trainer, before any data is read.

    Raises:
        ValueError: a callback would be without effect, or in the way.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        check = getattr(callback, "check", None)
        if check is not None:
            check(trainer)


def check_canvases(detector: nn.Module, canvases: set[tuple[int, int]]) -> None:
    """Refuse images of another size, or of several, where a part is made for one.

    Raises:
        ValueError: names the part, its size and those of the data.
    """
    for part in detector.modules():
        only = getattr(part, "only_canvas", None)
        if only is not None and canvases != {only}:
            raise ValueError(
                f"{type(part).__name__} is made for images of {only} (height, width), but they "
                f"come in {sorted(canvases)}: set image_size to that, without trick=multiscale or "
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
