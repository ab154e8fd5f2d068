"""What a checkpoint describes, made again from its own config."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from detectors.classifier import Classifier
from detectors.commands.composition import check_trusted, instantiate
from detectors.detector import Detector


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
    detector = instantiate(OmegaConf.create({"model": unloaded(model)}), "model")
    detector.load_state_dict(stored_weights(checkpoint))
    return detector


def stored_weights(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The state of the checkpoint's detector."""
    state = checkpoint["state_dict"].items()
    return {n.removeprefix("detector."): v for n, v in state if n.startswith("detector.")}


def unloaded(model: Mapping[str, Any]) -> dict[str, Any]:
    """The model without a look for initial weights, which the checkpoint replaces anyway."""
    initial = ("pretrained", "weights")
    return {**model, "backbone": {k: v for k, v in model["backbone"].items() if k not in initial}}


def restored_testing(
    checkpoint: Mapping[str, Any], changes: DictConfig, detector: Detector, trust: Sequence[str]
) -> nn.Module:
    """What is asked: the detector, or what asks it several times about each picture.

    Args:
        changes: its `testing` is another way, None for once, or "trained" for the checkpoint's.

    Raises:
        ValueError: the checkpoint's config names code that is not trusted.
    """
    if changes.testing != "trained":
        if changes.testing is None:
            return detector
        return instantiate(changes, "testing", detector=detector)
    node = checkpoint["config"].get("testing")
    if node is None:
        return detector
    check_trusted(node, trust)
    return instantiate(OmegaConf.create({"testing": node}), "testing", detector=detector)


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
