"""Makes all that a training needs, for a device and a number format by name."""

import inspect
import logging
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal

import lightning
from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger
from omegaconf import DictConfig
from torch import nn

from detectors import graph_cache
from detectors.callbacks.checkpoints import LastCheckpoint, Stopped
from detectors.config.fitted import is_fitted
from detectors.config.instantiate import instantiate
from detectors.config.links import with_links
from detectors.config.spelling import did_you_mean
from detectors.config.values import check_value
from detectors.data.allocator import keep_freed_memory
from detectors.detector import Detector
from detectors.engine.build import initial_detector, sketch
from detectors.engine.checkpoint_files import CheckpointFiles
from detectors.engine.checks import (
    check_batch_tricks,
    check_callbacks,
    check_canvases,
    check_classes,
    check_tta,
)
from detectors.engine.hardware import accelerator_of, number_format
from detectors.engine.loggers import check_loggers
from detectors.engine.memory import memory_told
from detectors.engine.proposals import check_proposals
from detectors.layers.progress import check_demands
from detectors.module import LitData, LitDetector
from detectors.ranges import Count, Positive, Share, Weight, Whole, Within

# Lightning's warnings about its own code, and about what is on purpose here.
IRRELEVANT = (
    ".*LeafSpec.*",
    ".*smaller than the logging interval.*",
    ".*does not have many workers.*",
    ".*sync_dist=True.*",  # losses shown are the first process's: waiting for all costs each step
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*`max_epochs` was not set.*",  # an evaluation has none
)

# Its arguments for which words of ours stand, and the ranges of those that would go wrong late.
OURS = {"accelerator": "device", "logger": "logger"}
Part = Annotated[float, Within("(0, 1]")]
RANGES = {
    "max_epochs": Count | Literal[-1] | None,
    "max_steps": Count | Literal[-1],
    "limit_train_batches": Count | Part,
    "limit_val_batches": Whole | Share,
    "limit_test_batches": Count | Part,
    "accumulate_grad_batches": Count,
    "check_val_every_n_epoch": Count | None,
    "log_every_n_steps": Count,
    "num_sanity_val_steps": Whole | Literal[-1],
    "gradient_clip_val": Weight | None,
    "num_nodes": Count,
}

PLAIN = (str, int, float, list, Mapping, NoneType)  # bool is an int

_log = logging.getLogger(__name__)


def trainer(
    device: str,
    precision: str,
    callbacks: Mapping[str, Callback | None] | None = None,
    loggers: Mapping[str, Logger] | None = None,
    checkpoint_minutes: Positive | None = None,
    **settings: Any,
) -> Trainer:
    """Lightning's `Trainer`, for a device and a number format by name.

    Args:
        device: "auto", "cpu", "gpu" or any other accelerator of Lightning.
        precision: "auto" or what Lightning knows.
        callbacks: by name; None is left out.
        checkpoint_minutes: from one `last.ckpt` to the next, where a callback writes it.
        settings: all other arguments of `Trainer`.

    Raises:
        ValueError: `Trainer` has no such argument, this machine has no such device, or a logger
            finds no key.
    """
    _check_settings(settings)
    check_loggers(loggers or {})
    plugins = [CheckpointFiles(), *settings.pop("plugins", [])]
    for message in IRRELEVANT:
        warnings.filterwarnings("ignore", message)
    used = [callback for callback in (callbacks or {}).values() if callback is not None]
    for callback in used:
        if isinstance(callback, LastCheckpoint):
            callback.minutes = checkpoint_minutes
    accelerator = accelerator_of(device)
    if accelerator == "cpu":
        keep_freed_memory()
    given = {
        "accelerator": accelerator,
        "precision": number_format(precision, accelerator),
        "callbacks": used,
        "logger": list((loggers or {}).values()),
        "plugins": plugins,
        "enable_model_summary": False,
    }
    return Trainer(**{**given, **settings})


def _check_settings(settings: Mapping[str, Any]) -> None:
    known = inspect.signature(Trainer).parameters
    for key, value in settings.items():
        if key in OURS:
            raise ValueError(f"trainer.{key}: say {OURS[key]}=... instead")
        if key not in known:
            raise ValueError(f"Lightning's Trainer has no {key!r}.{did_you_mean(key, known)}")
        if isinstance(value, PLAIN):  # else it is a part that is made, such as a profiler
            check_value(f"trainer.{key}", value, RANGES.get(key, known[key].annotation))


def assemble(cfg: DictConfig) -> tuple[LitDetector, LitData, Trainer]:
    """Module, data and trainer; all that the config describes is made before any data is read.

    Only where training starts from a checkpoint of ours, the data are asked for their classes.
    """
    check_classes(cfg)
    outline, tta = sketch(cfg), tta_of(cfg)
    data, trainer = LitData(instantiate(cfg, "data")), instantiate(cfg, "trainer")
    check_callbacks(trainer)
    check_proposals(outline, data.data.proposals)
    if is_fitted(cfg):
        return _to_fit(cfg, tta, outline, trainer), data, trainer
    check_demands(outline, trainer.accumulate_grad_batches, cfg.compile)
    check_canvases(outline, data.canvases())
    if outline.head.takes_proposals and data.data.proposals is None:
        _log.warning(
            "no data.proposals: the second stage looks at the same windows in every picture; "
            "`detectors propose` makes better ones"
        )
    check_tta(tta, outline, data.canvases())
    lightning.seed_everything(cfg.seed, workers=False, verbose=False)
    detector = initial_detector(cfg, lambda: data.classes)
    optimizer = instantiate(cfg, "optimizer")
    schedule = instantiate(cfg, "learning_rate")
    schedule(optimizer(detector), 10**9)  # what they refuse in any run is refused here
    batch_tricks = instantiate(cfg, "batch_tricks")
    if cfg.compile:
        _log.info(graph_cache.told())
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


def _to_fit(
    cfg: DictConfig,
    tta: Callable[[Detector], nn.Module] | None,
    outline: Detector,
    trainer: Trainer,
) -> LitDetector:
    """The module around a model that is fitted stage by stage.

    Raises:
        ValueError: the trainer has several devices, or the augmentation is not for such a model.
    """
    if trainer.num_devices * trainer.num_nodes > 1:
        raise ValueError(
            f"trainer: {trainer.num_devices * trainer.num_nodes} devices, but a fitted model is "
            "fitted on one: choose trainer=cpu or trainer=gpu"
        )
    if tta is not None:
        tta(outline)
    lightning.seed_everything(cfg.seed, workers=False, verbose=False)
    return LitDetector(
        initial_detector(cfg),
        seed=cfg.seed,
        config=with_links(cfg),
        channels_last=False,
        tta=tta,
        metrics=instantiate(cfg, "metrics"),
    )


def tta_of(cfg: DictConfig) -> Callable[[Detector], nn.Module] | None:
    """The test-time augmentation that evaluations use in place of the bare detector, if any.

    Raises:
        ValueError: it refers to a checkpoint's, but training has none.
    """
    if cfg.tta == "trained":
        raise ValueError("tta=trained is for `detectors evaluate`: choose flip_merged or scales")
    return None if cfg.tta is None else instantiate(cfg, "tta", _partial_=True)


def fit(trainer: Trainer, module: LightningModule, data: Any, file: Path | None) -> None:
    """Train, from a checkpoint on if there is one; where a signal stops it, say how to go on."""
    with stop_told(trainer), memory_told():
        trainer.fit(module, datamodule=data, ckpt_path=file, weights_only=True)


@contextmanager
def stop_told(trainer: Trainer) -> Iterator[None]:
    """Say how to go on with the run, where a signal stops the block."""
    try:
        yield
    except Stopped as stop:
        if trainer.is_global_zero:
            _log.warning("%s. Go on with: %s", stop.told, _going_on(_folder_of_job(trainer)))
        raise


def _folder_of_job(trainer: Trainer) -> str:
    """That of the run; a stage of one has a folder of its own in it."""
    if HydraConfig.initialized():
        return str(HydraConfig.get().runtime.output_dir)
    return str(trainer.default_root_dir)


def _going_on(folder: str) -> str:
    """The command line that goes on with the run in the folder."""
    words = [w for w in sys.argv[1:] if not w.startswith(("ckpt_path=", "hydra.run.dir="))]
    return shlex.join(["detectors", *words, f"hydra.run.dir={folder}", "ckpt_path=last"])


def finish(trainer: Trainer) -> None:
    """Close what the loggers hold open, so that the next job of a sweep starts a run of its own.

    While an error is on its way, they are told that the run has failed.
    """
    failed = sys.exception() is not None
    for logger in trainer.loggers:
        logger.finalize("failed" if failed else "finished")
    wandb = sys.modules.get("wandb")
    if wandb is not None and wandb.run is not None:
        wandb.finish(exit_code=int(failed))
