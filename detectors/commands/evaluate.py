"""Measure a checkpoint by COCO and VOC rules; it alone rebuilds the model."""

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from detectors.config.instantiate import instantiate
from detectors.engine import run_folder
from detectors.engine.checkpoint import checkpoint_file
from detectors.engine.checks import asked_in
from detectors.engine.evaluation import (
    check_objective,
    evaluate,
    numbers_of,
    value_of,
    warn_of_crowds,
)
from detectors.engine.proposals import check_proposals
from detectors.engine.restoring import restored_data, restored_detector, restored_tta
from detectors.module import LitData, LitDetector
from detectors.weights.checkpoint import load_checkpoint


def main(cfg: DictConfig) -> float:
    """The `objective` on the split; the table is printed, metrics and detections are written."""
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "data"])
    words = list(HydraConfig.get().overrides.task)
    checkpoint = load_checkpoint(checkpoint_file(cfg.ckpt_path, Path(cfg.run_dir)))
    detector = restored_detector(checkpoint, cfg.trust)
    cfg.precision = asked_in(detector, cfg.precision)
    asked: Any = restored_tta(checkpoint, cfg, detector, cfg.trust)
    module = LitDetector(asked, metrics=instantiate(cfg, "metrics"))
    data = LitData(restored_data(checkpoint, cfg, cfg.trust, words, cfg.split))
    check_proposals(detector, data.data.proposals)
    check_objective(cfg.objective, numbers_of(module, data, cfg.split))
    trainer = instantiate(cfg, "trainer")
    if trainer.is_global_zero:
        warn_of_crowds(module.most_found, data.annotations(cfg.split))
    folder = run_folder.record(own, words)
    metrics = evaluate(module, data, trainer, cfg.split, folder).metrics
    return value_of(cfg.objective, metrics)
