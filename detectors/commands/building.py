"""From words to a detector."""

import json
from collections.abc import Sequence

import torch
from omegaconf import DictConfig

from detectors.commands.clustering import with_clustered_shapes
from detectors.commands.composition import compose, instantiate
from detectors.commands.words import check_words
from detectors.detector import Detector
from detectors.weights import load_weights


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
