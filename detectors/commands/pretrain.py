"""Pre-train a backbone as an image classifier."""

import logging
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Trainer
from omegaconf import DictConfig

from detectors.classification.module import LitClassifier
from detectors.config.instantiate import instantiate
from detectors.config.links import with_links
from detectors.engine import run_folder
from detectors.engine.automatic import AUTO
from detectors.engine.build import configured_job
from detectors.engine.checkpoint_files import check_finite
from detectors.engine.checks import DETECTION, check_classes, check_data, check_validation
from detectors.engine.evaluation import check_objective, value_of
from detectors.engine.resume import resumed_from
from detectors.engine.trainer import finish, fit
from detectors.files import whole_file
from detectors.weights.initial import initial_model

_log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> float:
    """Train as the config says, write `backbone.pt`; the value of `objective`."""
    overrides = list(HydraConfig.get().overrides.task)
    check_data(cfg, DETECTION, "boxes, not a class for each picture; use data=imagefolder")
    if cfg.compile in (AUTO, "all"):
        raise ValueError(
            f"compile={cfg.compile} is for `detectors train`: say compile=true or false"
        )
    cfg = configured_job(cfg)
    resumed = resumed_from(cfg, Path(cfg.run_dir))
    module, data, trainer = assemble(cfg)
    check_validation(trainer)
    check_objective(cfg.objective, ["val/loss", *map(str, module.accuracies)])
    data.setup("fit")  # read before the run is recorded, so that what is wrong is refused
    if resumed is not None:
        resumed.check_classes(data.classes)
    folder = run_folder.record(cfg, overrides)
    file = None if resumed is None else resumed.file
    try:
        fit(trainer, module, data, file)
        metrics = evaluate(module, data, trainer, folder)
    finally:
        finish(trainer)
    if trainer.is_global_zero:
        print(f"backbone: {write_backbone(module, folder)}")
        _log.info("run folder: %s", folder)
    return value_of(cfg.objective, metrics)


def assemble(cfg: DictConfig) -> tuple[LitClassifier, Any, Trainer]:
    """Module, data and trainer; all that the config describes is made before any data is read."""
    check_classes(cfg)
    lightning.seed_everything(cfg.seed, workers=False, verbose=False)
    classifier: Any = initial_model(cfg)
    optimizer = instantiate(cfg, "optimizer")
    schedule = instantiate(cfg, "learning_rate")
    schedule(optimizer(classifier), 10**9)  # what they refuse in any run is refused here
    module = LitClassifier(
        classifier,
        optimizer,
        schedule,
        finish=None if cfg.finish is None else instantiate(cfg, "finish"),
        cutmix=None if cfg.cutmix is None else instantiate(cfg, "cutmix"),
        label_smoothing=cfg.label_smoothing,
        seed=cfg.seed,
        config=with_links(cfg),
        channels_last=cfg.channels_last,
        compiled=cfg.compile,
    )
    trainer = instantiate(cfg, "trainer")
    return module, instantiate(cfg, "data"), trainer


def evaluate(module: LitClassifier, data: Any, trainer: Trainer, folder: Path) -> dict[str, float]:
    """Validation metrics of the weights that training ended with, written to `metrics.json`."""
    trainer.validate(module, datamodule=data, verbose=False)
    values = trainer.callback_metrics.items()
    metrics = {name: float(value) for name, value in values if name.startswith("val/")}
    if trainer.is_global_zero:
        run_folder.write_json(folder / "metrics.json", metrics)
        print("  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    return metrics


def write_backbone(module: LitClassifier, folder: Path) -> Path:
    """A state dict of the backbone alone, for `part.backbone.weights`."""
    state = module.classifier.backbone.state_dict()
    file = folder / "backbone.pt"
    check_finite(state, str(file))
    with whole_file(file, "wb") as opened:
        torch.save({name: value.cpu().contiguous() for name, value in state.items()}, opened)
    return file
