"""Whether what a run is made of fits together, before any data is read."""

from collections.abc import Callable, Mapping
from typing import Any

from lightning.pytorch import Trainer
from torch import nn

from detectors.detector import Detector
from detectors.tricks import BatchTrick


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


def check_testing(
    testing: Callable[[Detector], Any] | None,
    detector: Detector,
    canvases: set[tuple[int, int]],
) -> None:
    """Refuse sizes at which a part of the detector cannot be asked.

    Raises:
        ValueError: as `check_canvases`.
    """
    if testing is not None:
        asked = testing(detector)
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
