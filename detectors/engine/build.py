"""Builds the detector that words or a config describe."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from detectors.config.compose import compose
from detectors.config.darknet import tell_unused
from detectors.config.overrides import check_overrides
from detectors.config.words import check_slots, words_of_job
from detectors.detector import Detector
from detectors.engine.anchors import with_anchors
from detectors.engine.classes import with_classes
from detectors.engine.proposals import with_proposals
from detectors.weights.initial import initial_model, random_model


def build(model: str, overrides: Sequence[str] = (), **settings: object) -> Detector:
    """See `detectors.build`."""
    values = [f"{key}={json.dumps(value)}" for key, value in settings.items()]
    return initial_detector(configured([f"model={model}", *overrides, *values]))


def configured(
    words: Sequence[str], name: str = "train", composed: DictConfig | None = None
) -> DictConfig:
    """The config of some words, which everything else trusts.

    Words and tricks without effect are refused, and where the config leaves them to the training
    data, classes and anchors are found there.

    Args:
        words: overrides of the config `name`.
        composed: what Hydra has made of them already, if it has.

    Raises:
        ValueError: a word is unknown or has no effect; the message names it and the reason.
    """
    cfg = compose(words, name) if composed is None else composed
    check_overrides(cfg, words, name)
    tell_unused(cfg)
    fed = with_proposals(cfg)
    if fed is not cfg and cfg.stages is not None:  # words of a run in stages are for any of them
        check_slots(fed, words)
    return with_anchors(with_classes(fed))


def configured_job(cfg: DictConfig) -> DictConfig:
    """The same for the running Hydra job, whose config Hydra has composed."""
    return configured(words_of_job(), str(HydraConfig.get().job.config_name), cfg)


def initial_detector(cfg: DictConfig, names: Callable[[], Sequence[str]] | None = None) -> Detector:
    """The detector of a config, with the weights that training starts from.

    Args:
        names: gives the names of the classes of the data, if these are known.

    Raises:
        ValueError: as `weights.initial.initial_model`.
    """
    detector: Any = initial_model(cfg, names)
    return detector


def sketch(cfg: DictConfig) -> Detector:
    """The detector of a config without any values, so that what cannot be made is refused at once.

    Nothing is read and nothing drawn.
    """
    with torch.device("meta"):
        detector: Any = random_model(cfg)
    return detector
