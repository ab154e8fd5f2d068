"""Train a detector; pictures, curves and an AP table come with it."""

import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from detectors.callbacks import trackers
from detectors.callbacks.checkpoints import LastCheckpoint
from detectors.callbacks.rate_range import RateRange
from detectors.config.fitted import is_fitted
from detectors.config.origins import origins
from detectors.config.words import said, words_of_job
from detectors.engine import batch_size, compiling, record, run_folder
from detectors.engine.automatic import Choice, settled
from detectors.engine.build import configured
from detectors.engine.checks import CLASSIFICATION, check_data, check_debug, check_validation
from detectors.engine.evaluation import (
    check_objective,
    evaluate,
    numbers_of,
    value_of,
    warn_of_crowds,
)
from detectors.engine.fitting import fit_stages, validated
from detectors.engine.resume import resumed_from
from detectors.engine.stages import check_run, planned_stages, train_stages
from detectors.engine.targets import measure_targets
from detectors.engine.trainer import assemble, finish, fit
from detectors.module import LitData, LitDetector
from detectors.report import FILE, write
from detectors.report.reading import read_run
from detectors.studies.keys import resolved

# What the word `auto` is replaced by, in this order: a step is timed with the batch that was found.
CHOICES: dict[str, Choice] = {
    batch_size.KEY: batch_size.largest_batch,
    compiling.KEY: compiling.worthwhile,
}

_log = logging.getLogger(__name__)


def main(cfg: DictConfig) -> float:
    """Train as the config says; the value of `objective`, which sweepers optimise.

    NaN where the learning rate was tested and nothing evaluated.
    """
    check_data(cfg, CLASSIFICATION, "a class for each picture, no boxes; for `detectors pretrain`")
    check_debug(cfg)
    if cfg.stages:
        return in_stages(cfg)
    return one(cfg)


def in_stages(cfg: DictConfig) -> float:
    """Train the stages one after the other, and measure a detector with the weights of all."""
    stages = planned_stages(cfg)
    check_run(cfg, stages)
    weights = train_stages(cfg, stages, one)
    cfg.ckpt_path = None

    def start(module: LitDetector) -> None:
        module.detector.load_state_dict(weights)

    return one(cfg, start, trained=True)


def one(
    cfg: DictConfig, start: Callable[[LitDetector], None] | None = None, trained: bool = False
) -> float:
    """One training, and what is measured and written at its end.

    Args:
        start: sets the weights of a training that begins now.
        trained: these are those that are measured, and there is nothing to train.
    """
    overrides = said()
    words, cfg = settled(cfg, CHOICES)
    composed = resolved(cfg)
    cfg = configured(words, str(HydraConfig.get().job.config_name), cfg)
    resumed = resumed_from(cfg, Path(cfg.run_dir))
    module, data, trainer = assemble(cfg)
    if resumed is None:
        measure_targets(module.detector, data.data, loaded=cfg.weights is not None)
    if start is not None:
        start(module)
    probing = any(isinstance(c, RateRange) for c in trainer.callbacks)  # type: ignore[attr-defined]
    fitted = is_fitted(cfg)
    if not probing:
        check_validation(trainer)
    check_objective(cfg.objective, numbers_of(module, data, "val"))
    numbers_of(module, data, cfg.split)  # refuses a split that is not there
    if trainer.is_global_zero and not probing:
        warn_of_crowds(module.most_found, data.annotations(cfg.split))
    data.data.check_memory("train", "val")  # reads both before the run is recorded
    if not fitted:
        data.data.check_batches(trainer.world_size)
    if resumed is not None:
        resumed.check_classes(data.classes)
    folder = run_folder.record(cfg, overrides)
    file = None if resumed is None else resumed.file
    run = record.begin(cfg, composed, module, data, trainer, file)
    try:
        trackers.announce(trainer.loggers, folder, run.content)
        if fitted:
            fit_stages(trainer, module, data, file, run)
            run.last = {} if cfg.split == "val" else validated(trainer, module, data)
        elif not trained:
            fit(trainer, module, data, file)
        if probing:
            run.finish_unmeasured()
            return math.nan
        epoch = None if fitted else 0 if trained else load_measured(module, trainer, cfg.select)
        found = evaluate(module, data, trainer, cfg.split, folder)
        if trained:
            trainer.save_checkpoint(folder / "checkpoints" / "last.ckpt", weights_only=True)
        run.finish(found, epoch, (module, data, trainer) if cfg.latency else None)
        trackers.conclude(trainer.loggers, run.content, found.metrics, cfg.objective)
        if cfg.report and trainer.is_global_zero:
            report(folder, cfg, data)
        show_figures(trainer, folder)
    finally:
        finish(trainer)
    if trainer.is_global_zero:
        _log.info("run folder: %s", folder)
    chosen = run.best if cfg.select == "best" else run.last
    return value_of(cfg.objective, {**chosen, **found.metrics})


def show_figures(trainer: Trainer, folder: Path) -> None:
    """Give trackers, where there are any, the figures of the evaluation in the folder.

    The run is done; what a tracker finds in its way costs it nothing but these.
    """
    if not (trainer.is_global_zero and trackers.shown_by(trainer.loggers)):
        return
    from detectors.report.stills import stills

    try:
        evaluated = read_run(folder).evaluated
        assert evaluated is not None  # it has just been written
        for name, picture in stills(evaluated).items():
            trackers.show(trainer.loggers, name, picture, trainer.global_step)
    except Exception as error:
        _log.warning("trackers have no figures: %s: %s", type(error).__name__, error)


def report(folder: Path, cfg: DictConfig, data: LitData) -> None:
    """Write the run's report; what it finds in its way costs the run nothing but that."""
    config: Any = OmegaConf.to_container(cfg, resolve=True)
    known = partial(origins, words_of_job(), "train", config)
    try:
        write(folder, lambda: data.data.source(cfg.split), known, folder / FILE)
    except Exception as error:
        _log.warning("no %s: %s: %s", FILE, type(error).__name__, error)


def load_measured(module: LitDetector, trainer: Trainer, select: str) -> int:
    """Give the module the weights of the best or the last checkpoint; the epoch that made them.

    Where no callback writes that checkpoint, those stay that training ended with.
    """
    file = getattr(trainer.checkpoint_callback, "best_model_path", "")
    if select == "last":
        lasts = [c for c in trainer.checkpoint_callbacks if isinstance(c, LastCheckpoint)]
        file = next((str(last.file) for last in lasts if last.file.is_file()), "")
    if not file:
        return trainer.current_epoch - 1
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    module.load_state_dict(checkpoint["state_dict"])
    _log.info("evaluating the %s checkpoint, %s", select, file)
    return int(checkpoint["epoch"])
