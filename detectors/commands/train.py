"""Train a detector; pictures, curves and an AP table come with it."""

import logging
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Trainer
from omegaconf import DictConfig

from detectors.engine import run_folder
from detectors.engine.build import configured_job
from detectors.engine.checks import CLASSIFICATION, check_data, check_validation
from detectors.engine.evaluation import check_objective, evaluate, numbers_of, value_of
from detectors.engine.resume import resumed_from
from detectors.engine.trainer import assemble, finish, fit
from detectors.module import LitDetector

_log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> float:
    """Train as the config says; the value of `objective`, which sweepers optimise."""
    overrides = list(HydraConfig.get().overrides.task)
    check_data(cfg, CLASSIFICATION, "a class for each picture, no boxes; for `detectors pretrain`")
    cfg = configured_job(cfg)
    resumed = resumed_from(cfg, Path(cfg.run_dir))
    module, data, trainer = assemble(cfg)
    check_validation(trainer)
    check_objective(cfg.objective, numbers_of(module, data, "val"))
    data.data.check_memory("train", "val")  # reads both before the run is recorded
    if resumed is not None:
        resumed.check_classes(data.classes)
    folder = run_folder.record(cfg, overrides)
    file = None if resumed is None else resumed.file
    try:
        fit(trainer, module, data, file)
        metrics = _evaluate_best(module, data, trainer, folder)
    finally:
        finish(trainer)
    if trainer.is_global_zero:
        _log.info("run folder: %s", folder)
    return value_of(cfg.objective, metrics)


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
