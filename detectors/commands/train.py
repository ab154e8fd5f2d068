"""Train a detector; pictures, curves and an AP table come with it."""

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf
from torch import nn

from detectors.commands import run_folder
from detectors.commands.building import initial_detector, sketch
from detectors.commands.checks import (
    check_batch_tricks,
    check_callbacks,
    check_canvases,
    check_testing,
)
from detectors.commands.clustering import with_clustered_shapes
from detectors.commands.composition import check_data, instantiate
from detectors.commands.evaluation import evaluate
from detectors.commands.restoring import unloaded
from detectors.commands.words import check_words, words_of_job
from detectors.data.imagefolder import ImageFolder
from detectors.detector import Detector
from detectors.module import LitDetector

_log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> float:
    """Train as the config says; the value of `objective`, which sweepers optimise."""
    overrides = list(HydraConfig.get().overrides.task)
    check_words(cfg, words_of_job())
    check_data(cfg, ImageFolder, "a class for each picture, no boxes; for `detectors pretrain`")
    cfg = with_clustered_shapes(cfg)
    folder = run_folder.record(cfg, overrides)
    module, data, trainer = assemble(cfg)
    resume = resumed_from(cfg, folder)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        metrics = _evaluate_best(module, data, trainer, folder)
    finally:
        finish(trainer)
    if trainer.is_global_zero:
        _log.info("run folder: %s", folder)
    return metrics[cfg.objective]


def assemble(cfg: DictConfig) -> tuple[LitDetector, Any, Trainer]:
    """Module, data and trainer; all that the config describes is made before any data is read.

    Unless priors are clustered on the data.
    """
    cfg = with_clustered_shapes(cfg)
    outline, testing = sketch(cfg), testing_of(cfg)
    data, trainer = instantiate(cfg, "data"), instantiate(cfg, "trainer")
    check_callbacks(trainer)
    check_canvases(outline, data.canvases())
    check_testing(testing, outline, data.canvases())
    lightning.seed_everything(cfg.seed, workers=False, verbose=False)
    detector, optimizer = initial_detector(cfg), instantiate(cfg, "optimizer")
    schedule = instantiate(cfg, "schedule")
    schedule(optimizer(detector), 10**9)  # what they refuse in any run is refused here
    batch_tricks = instantiate(cfg, "batch_tricks")
    module = LitDetector(
        detector,
        optimizer,
        schedule,
        seed=cfg.seed,
        config=OmegaConf.to_container(cfg, resolve=True),  # type: ignore[arg-type]
        channels_last=cfg.channels_last,
        compiled=cfg.compile,
        batch_tricks=batch_tricks,
        testing=testing,
    )
    check_batch_tricks(batch_tricks, detector, min(data.canvases()))
    return module, data, trainer


def testing_of(cfg: DictConfig) -> Callable[[Detector], nn.Module] | None:
    """What is evaluated in the place of a detector, if the config says so.

    Raises:
        ValueError: it says how a checkpoint was trained, but there is none.
    """
    if cfg.testing == "trained":
        raise ValueError(
            "testing=trained is for `detectors evaluate`: choose flip_merged or scales"
        )
    return None if cfg.testing is None else instantiate(cfg, "testing", _partial_=True)


def resumed_from(cfg: DictConfig, folder: Path) -> Path | None:
    """The checkpoint to go on from, whose model must be this run's."""
    if cfg.ckpt_path is None:
        return None
    file = run_folder.checkpoint_file(cfg.ckpt_path, folder)
    stored = run_folder.load_checkpoint(file)["config"]["model"]
    own: Any = OmegaConf.to_container(cfg.model, resolve=True)
    if unloaded(stored) != unloaded(own):
        raise ValueError(f"{file} holds another model than this config; give the same overrides")
    _log.info("resuming from %s", file)
    return file


def _evaluate_best(
    module: LitDetector, data: Any, trainer: Trainer, folder: Path
) -> dict[str, float]:
    best = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if best:
        module.load_state_dict(
            torch.load(best, map_location="cpu", weights_only=True)["state_dict"]
        )
        _log.info("evaluating the best checkpoint, %s", best)
    return evaluate(module, data, trainer, "val", folder)


def finish(trainer: Trainer) -> None:
    """Close what the loggers hold open, so that the next job of a sweep starts a run of its own."""
    for logger in trainer.loggers:
        logger.finalize("finished")
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish()
