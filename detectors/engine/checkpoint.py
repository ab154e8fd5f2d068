"""Finds and reads checkpoints, and makes what they describe from their own config."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from detectors.classification.classifier import Classifier
from detectors.config.instantiate import instantiate, made
from detectors.config.trust import check_trusted
from detectors.detector import Detector
from detectors.structures import CHECKPOINT_FORMAT
from detectors.weights.initial import unread

_log = logging.getLogger(__name__)


def restored_detector(checkpoint: Mapping[str, Any], trust: Sequence[str]) -> Detector:
    """The detector with the checkpoint's weights: the averaged ones, if there was an average.

    Args:
        trust: packages beyond ours that the config may name.

    Raises:
        ValueError: the config names code that is not trusted, or the model is no detector.
    """
    model = dict(checkpoint["config"]["model"])
    if model["_target_"] == f"{Classifier.__module__}.{Classifier.__name__}":
        raise ValueError(
            "the checkpoint holds a classifier of `detectors pretrain`, not a detector: name one "
            "of `detectors train`"
        )
    check_trusted(model, trust)
    detector = made(unread(model), "model")
    detector.load_state_dict(stored_weights(checkpoint))
    return detector


def stored_weights(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The state of the checkpoint's detector."""
    state = checkpoint["state_dict"].items()
    return {n.removeprefix("detector."): v for n, v in state if n.startswith("detector.")}


def restored_tta(
    checkpoint: Mapping[str, Any], changes: DictConfig, detector: Detector, trust: Sequence[str]
) -> nn.Module:
    """The module to evaluate: the detector, or a test-time augmentation around it.

    Args:
        changes: its `tta` is an augmentation, None for none, or "trained" for the checkpoint's.

    Raises:
        ValueError: the checkpoint's config names code that is not trusted.
    """
    if changes.tta != "trained":
        if changes.tta is None:
            return detector
        return instantiate(changes, "tta", detector=detector)
    node = checkpoint["config"].get("tta")
    if node is None:
        return detector
    check_trusted(node, trust)
    return instantiate(OmegaConf.create({"tta": node}), "tta", detector=detector)


def restored_data(checkpoint: Mapping[str, Any], changes: DictConfig, trust: Sequence[str]) -> Any:
    """The data module of the checkpoint, changed.

    Args:
        changes: a config with another `data` node, or with some keys of it. A new node keeps the
            old resize if it has none, and reads what else it refers to in `changes` first.

    Raises:
        ValueError: the classes of new data are not those that the model knows.
    """
    config, changed = checkpoint["config"], OmegaConf.to_container(changes, resolve=False)
    assert isinstance(changed, dict)
    new = changed["data"]
    if "_target_" in new:
        node = {"resize": config["data"]["resize"], **new}
    else:
        check_trusted(config["data"], trust)
        node = OmegaConf.to_container(OmegaConf.merge(config["data"], new))  # type: ignore[assignment]
    data = instantiate(OmegaConf.create({**config, **changed, "data": node}), "data")
    _check_classes(checkpoint, data)
    return data


def _check_classes(checkpoint: Mapping[str, Any], data: Any) -> None:
    known, given = checkpoint["config"]["num_classes"], data.num_classes
    if given != known:
        raise ValueError(f"the checkpoint's model knows {known} classes, the data have {given}")
    names = tuple(checkpoint["classes"])
    if data.expected is not None and tuple(data.expected) != names:
        raise ValueError(f"the model was trained on the classes {names}, not on {data.expected}")


def checkpoint_file(ckpt_path: str, folder: Path) -> Path:
    """The file that `ckpt_path` names.

    "last" is `checkpoints/last.ckpt` of this run folder if it is there (a run repeated with
    `hydra.run.dir=FOLDER`), else the one written last in a folder beside it.

    Raises:
        ValueError: there is no such file.
    """
    if ckpt_path != "last":
        candidates = [Path(ckpt_path)]
    else:
        beside = folder.resolve().parent.glob("*/checkpoints/last.ckpt")
        newest = sorted(beside, key=lambda file: file.stat().st_mtime, reverse=True)
        candidates = [folder / "checkpoints" / "last.ckpt", *newest]
    for file in candidates:
        if file.is_file():
            return file
    looked = f"{folder} and its neighbours" if ckpt_path == "last" else Path.cwd()
    raise ValueError(f"ckpt_path={ckpt_path}: no such file (looked in {looked})")


def load_checkpoint(file: Path) -> dict[str, Any]:
    """Content of a checkpoint of `detectors train`, read without running code that it may hold.

    Raises:
        ValueError: the file is none of ours.
    """
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{file}: no checkpoint, or one that holds code, which is not run"
        ) from error
    if not isinstance(checkpoint, dict) or not checkpoint.get("config"):
        raise ValueError(f"{file}: holds no config, so it was not written by `detectors train`")
    if checkpoint.get("format") != CHECKPOINT_FORMAT:
        raise ValueError(
            f"{file}: was written by another version of this package, as format "
            f"{checkpoint.get('format', 1)}; this one reads format {CHECKPOINT_FORMAT}, in which "
            "parts and words have other names. Use that version, or train again"
        )
    return checkpoint


def resumed_from(cfg: DictConfig, folder: Path) -> Path | None:
    """The checkpoint to go on from, whose model must be this run's."""
    if cfg.ckpt_path is None:
        return None
    file = checkpoint_file(cfg.ckpt_path, folder)
    stored = load_checkpoint(file)["config"]["model"]
    own: Any = OmegaConf.to_container(cfg.model, resolve=True)
    if unread(stored) != unread(own):
        raise ValueError(f"{file} holds another model than this config; give the same overrides")
    _log.info("resuming from %s", file)
    return file
