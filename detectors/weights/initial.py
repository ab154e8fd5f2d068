"""Decides which weights training starts from."""

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from detectors.config.instantiate import links_told, made
from detectors.weights.backbone import filled
from detectors.weights.torchvision import load_weights
from detectors.weights.trained import Names, is_checkpoint, load_trained

_log = logging.getLogger(__name__)

BACKBONE, HUB = "part.backbone.weights", "part.backbone.pretrained"
SOURCES = {
    "weights": "a whole detector",
    BACKBONE: "a backbone's file",
    HUB: "timm's hub",
}


def initial_model(cfg: DictConfig, names: Names | None = None) -> nn.Module:
    """The model of a config, with the weights that training starts from.

    They come from the first of these that the config names, and are random if it names none:

    1. `ckpt_path`, the run that is resumed. Nothing else is read: whoever asked for it puts the
       checkpoint's weights in place of the random ones that the model has here.
    2. `weights`, a whole detector.
    3. `part.backbone.weights`, a file for the backbone.
    4. `part.backbone.pretrained`, timm's hub.

    Args:
        names: gives the names of the classes, where they are known; asked only if `weights` is a
            checkpoint of ours.

    Raises:
        ValueError: of the last three it names two; weights do not fit; or `weights_classes` is
            set, but no `weights` are.
    """
    source = source_of(cfg)
    if source == "ckpt_path":
        return random_model(cfg)
    if source == "weights":
        return _whole(cfg, names)
    if OmegaConf.select(cfg, "weights_classes") is not None:
        raise ValueError(
            f"weights_classes={cfg.weights_classes} says how many classes a file has, but none is "
            "loaded: set weights=KIND:FILE or weights=FILE.ckpt too, or leave it"
        )
    return _model(cfg, OmegaConf.select(cfg, BACKBONE))


def source_of(cfg: DictConfig) -> str | None:
    """The key of the source that counts; None: weights are random.

    Raises:
        ValueError: the config names two sources.
    """
    named = [key for key in SOURCES if OmegaConf.select(cfg, key) not in (None, False)]
    if OmegaConf.select(cfg, "ckpt_path") is not None:
        for key in named:
            _log.info("ckpt_path: %s stays unread, the checkpoint has all weights", key)
        return "ckpt_path"
    if len(named) > 1:
        told = " and ".join(f"{key}={OmegaConf.select(cfg, key)} ({SOURCES[key]})" for key in named)
        raise ValueError(
            f"{told}: training starts from one of them. Take the others back: "
            f"{', '.join(_off(key) for key in named[1:])}, or {_off(named[0])}"
        )
    return named[0] if named else None


def random_model(cfg: DictConfig) -> nn.Module:
    """The model of a config with random weights; no file and no hub is asked."""
    named = [key for key in (HUB, BACKBONE) if OmegaConf.select(cfg, key) not in (None, False)]
    plain = cfg.copy() if named else cfg  # the copy takes a fifth of the time
    for key in named:
        OmegaConf.update(plain, key, False if key == HUB else None)
    return _model(plain)


def unread(model: Mapping[str, Any]) -> dict[str, Any]:
    """A model's node without files and hub, for weights that a checkpoint has.

    They are named by the backbone, and by parts made of a backbone, which take `pretrained` too.
    """
    parts = {key: _unread(child) for key, child in model.items()}
    for name in ("backbone", "fitted"):
        if isinstance(model.get(name), Mapping):
            parts[name] = _unnamed(parts[name])
    return parts


def _unread(node: Any) -> Any:
    if isinstance(node, list):
        return [_unread(child) for child in node]
    if not isinstance(node, Mapping):
        return node
    return {k: _unread(v) for k, v in (_unnamed(node) if "pretrained" in node else node).items()}


def _unnamed(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in ("pretrained", "weights")}


def _whole(cfg: DictConfig, names: Names | None) -> nn.Module:
    """A detector filled from a checkpoint of ours or the file of another library."""
    detector: Any = random_model(cfg)
    made, count = partial(_of_classes, cfg), cfg.weights_classes
    if is_checkpoint(cfg.weights):
        load_trained(detector, made, cfg.num_classes, cfg.weights, names, count)
    else:
        load_weights(detector, cfg.weights, None if count is None else made(count))
    return detector


def _of_classes(cfg: DictConfig, count: int) -> Any:
    """The random detector of a config for another number of classes."""
    other = cfg.copy()
    other.num_classes = count
    return random_model(other)


def _model(cfg: DictConfig, file: str | None = None) -> nn.Module:
    """The model as its node says, its backbone filled from a file if there is one."""
    node: Any = OmegaConf.to_container(cfg.model, resolve=True, throw_on_missing=True)
    holder = node.get("fitted", node)  # a fitted model need not have a backbone
    if "backbone" in holder:
        holder["backbone"] = _backbone(holder["backbone"], file)
    with links_told(cfg):
        return made(node, "model")


def _backbone(node: Mapping[str, Any], file: str | None) -> dict[str, Any]:
    """A backbone's node, filled from a file if there is one."""
    backbone = {key: value for key, value in node.items() if key != "weights"}
    if file is None:
        return backbone
    target = f"{filled.__module__}.{filled.__name__}"
    return {"_target_": target, "backbone": {**backbone, "_partial_": True}, "weights": file}


def _off(key: str) -> str:
    return f"{key}={'false' if key == HUB else 'null'}"
