"""Makes all that a training needs, for a device and a number format by name."""

import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import lightning
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import nn

from detectors.config.instantiate import instantiate
from detectors.config.links import with_links
from detectors.config.spelling import did_you_mean
from detectors.detector import Detector
from detectors.engine.build import initial_detector, sketch
from detectors.engine.checks import (
    check_batch_tricks,
    check_callbacks,
    check_canvases,
    check_classes,
    check_tta,
)
from detectors.engine.hardware import accelerator_of, number_format
from detectors.layers.progress import check_demands
from detectors.module import LitData, LitDetector

# Lightning's warnings about its own code, and about what is on purpose here.
IRRELEVANT = (
    ".*LeafSpec.*",
    ".*smaller than the logging interval.*",
    ".*does not have many workers.*",
    ".*sync_dist=True.*",  # losses shown are the first process's: waiting for all costs each step
    ".*Checkpoint directory .* exists and is not empty.*",
)

_log = logging.getLogger(__name__)


def trainer(
    device: str,
    precision: str,
    callbacks: Mapping[str, Callback] | None = None,
    loggers: Mapping[str, Logger] | None = None,
    **settings: Any,
) -> Trainer:
    """Lightning's `Trainer`, for a device and a number format by name.

    Args:
        device: "auto", "cpu", "gpu" or any other accelerator of Lightning.
        precision: "auto" or what Lightning knows.
        settings: all other arguments of `Trainer`.

    Raises:
        ValueError: `Trainer` has no such argument, or this machine has no such device.
    """
    _check_settings(settings)
    for message in IRRELEVANT:
        warnings.filterwarnings("ignore", message)
    accelerator = accelerator_of(device)
    return Trainer(
        accelerator=accelerator,
        precision=number_format(precision, accelerator),  # type: ignore[arg-type]
        callbacks=list((callbacks or {}).values()),
        logger=list((loggers or {}).values()),
        enable_model_summary=False,
        **settings,
    )


def _check_settings(settings: Mapping[str, Any]) -> None:
    known = list(inspect.signature(Trainer).parameters)
    for key in settings:
        if key not in known:
            raise ValueError(f"Lightning's Trainer has no {key!r}.{did_you_mean(key, known)}")


def assemble(cfg: DictConfig) -> tuple[LitDetector, LitData, Trainer]:
    """Module, data and trainer; all that the config describes is made before any data is read."""
    check_classes(cfg)
    outline, tta = sketch(cfg), tta_of(cfg)
    data, trainer = LitData(instantiate(cfg, "data")), instantiate(cfg, "trainer")
    check_callbacks(trainer)
    check_demands(outline, trainer.accumulate_grad_batches, cfg.compile)
    check_canvases(outline, data.canvases())
    check_tta(tta, outline, data.canvases())
    lightning.seed_everything(cfg.seed, workers=False, verbose=False)
    detector, optimizer = initial_detector(cfg), instantiate(cfg, "optimizer")
    schedule = instantiate(cfg, "learning_rate")
    schedule(optimizer(detector), 10**9)  # what they refuse in any run is refused here
    batch_tricks = instantiate(cfg, "batch_tricks")
    module = LitDetector(
        detector,
        optimizer,
        schedule,
        seed=cfg.seed,
        config=with_links(cfg),
        channels_last=cfg.channels_last,
        compiled=cfg.compile,
        batch_tricks=batch_tricks,
        tta=tta,
        metrics=instantiate(cfg, "metrics"),
    )
    check_batch_tricks(batch_tricks, detector, min(data.canvases()))
    return module, data, trainer


def tta_of(cfg: DictConfig) -> Callable[[Detector], nn.Module] | None:
    """The test-time augmentation that evaluations use in place of the bare detector, if any.

    Raises:
        ValueError: it refers to a checkpoint's, but training has none.
    """
    if cfg.tta == "trained":
        raise ValueError("tta=trained is for `detectors evaluate`: choose flip_merged or scales")
    return None if cfg.tta is None else instantiate(cfg, "tta", _partial_=True)


def finish(trainer: Trainer) -> None:
    """Close what the loggers hold open, so that the next job of a sweep starts a run of its own."""
    for logger in trainer.loggers:
        logger.finalize("finished")
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()
