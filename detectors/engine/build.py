"""Builds what a config describes: a detector, or all that a training needs."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf
from torch import nn

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.config.overrides import check_words
from detectors.detector import Detector
from detectors.engine.anchors import with_clustered_shapes
from detectors.engine.checks import check_batch_tricks, check_callbacks, check_canvases, check_tta
from detectors.module import LitDetector
from detectors.weights.torchvision import load_weights


def build(model: str, overrides: Sequence[str] = (), **settings: object) -> Detector:
    """See `detectors.build`."""
    values = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    words = [f"model={model}", *overrides, *values]
    cfg = compose(words)
    check_words(cfg, words)
    return initial_detector(cfg)


def initial_detector(cfg: DictConfig) -> Detector:
    """The detector of the config, with the weights that training starts from.

    Raises:
        ValueError: they do not fit; or `weights_classes` is set, but nothing is loaded.
    """
    cfg = with_clustered_shapes(cfg)
    detector = instantiate(cfg, "model")
    if cfg.weights is not None:
        load_weights(detector, cfg.weights, _original(cfg))
    elif cfg.weights_classes is not None:
        raise ValueError(
            f"weights_classes={cfg.weights_classes} says how many classes a file has, but none is "
            "loaded: set weights=KIND:FILE too, or leave it"
        )
    return detector


def sketch(cfg: DictConfig) -> Detector:
    """The detector of the config without any values; so what cannot be made is refused at once.

    Nothing is read and nothing drawn.
    """
    plain = cfg.copy()
    for name, off in {"pretrained": False, "weights": None}.items():
        if name in plain.part.backbone:
            plain.part.backbone[name] = off
    with torch.device("meta"):
        return instantiate(plain, "model")


def _original(cfg: DictConfig) -> Detector | None:
    """The detector that the file of weights is of, if it has another number of classes."""
    if cfg.weights_classes is None:
        return None
    original = cfg.copy()
    original.num_classes = cfg.weights_classes
    return instantiate(original, "model")


def assemble(cfg: DictConfig) -> tuple[LitDetector, Any, Trainer]:
    """Module, data and trainer; all that the config describes is made before any data is read.

    Unless priors are clustered on the data.
    """
    cfg = with_clustered_shapes(cfg)
    outline, tta = sketch(cfg), tta_of(cfg)
    data, trainer = instantiate(cfg, "data"), instantiate(cfg, "trainer")
    check_callbacks(trainer)
    check_canvases(outline, data.canvases())
    check_tta(tta, outline, data.canvases())
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
        tta=tta,
    )
    check_batch_tricks(batch_tricks, detector, min(data.canvases()))
    return module, data, trainer


def tta_of(cfg: DictConfig) -> Callable[[Detector], nn.Module] | None:
    """What is evaluated in the place of a detector, if the config says so.

    Raises:
        ValueError: it says how a checkpoint was trained, but there is none.
    """
    if cfg.tta == "trained":
        raise ValueError("tta=trained is for `detectors evaluate`: choose flip_merged or scales")
    return None if cfg.tta is None else instantiate(cfg, "tta", _partial_=True)
