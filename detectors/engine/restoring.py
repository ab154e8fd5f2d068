"""Makes what a checkpoint describes, from its own config and by constructors that are trusted."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig
from torch import nn

from detectors.classification.classifier import Classifier
from detectors.config.instantiate import instantiate, made
from detectors.config.links import followed, found, merged, targets, with_links
from detectors.config.trust import check_trusted
from detectors.detector import Detector
from detectors.weights.checkpoint import stored_weights
from detectors.weights.initial import unread

MADE_BY_THE_COMMAND = ("trainer", "callback", "logger", "metrics", "tta")


def restored_detector(checkpoint: Mapping[str, Any], trust: Sequence[str]) -> Detector:
    """The detector with the checkpoint's weights: the averaged ones, if there was an average.

    Args:
        trust: packages beyond ours that the config may name.

    Raises:
        ValueError: the config names code that is not trusted, or the model is no detector.
    """
    node = followed(checkpoint["config"], "model")
    if not isinstance(node, dict) or not isinstance(node.get("backbone"), dict):
        raise ValueError("the checkpoint's config describes no model with a backbone")
    if node.get("_target_") == f"{Classifier.__module__}.{Classifier.__name__}":
        raise ValueError(
            "the checkpoint holds a classifier of `detectors pretrain`, not a detector: name one "
            "of `detectors train`"
        )
    node = unread(node)
    check_trusted(node, trust)
    detector = made(node, "model")
    detector.load_state_dict(stored_weights(checkpoint))
    return detector


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
    if checkpoint["config"].get("tta") is None:
        return detector
    node = followed(checkpoint["config"], "tta")
    check_trusted(node, trust)
    return made(node, "tta", detector=detector)


def restored_data(checkpoint: Mapping[str, Any], changes: DictConfig, trust: Sequence[str]) -> Any:
    """The data module of the checkpoint, changed.

    Args:
        changes: a config with another `data` node, or with some keys of it. A new node keeps the
            old resize if it has none. What a link names is read in `changes` first, and a key that
            is changed changes whatever refers to it.

    Raises:
        ValueError: the classes of new data are not those that the model knows, or the checkpoint's
            config names code that is not trusted.
    """
    changed = with_links(changes)
    node = followed(_merged(checkpoint["config"], changed), "data")
    check_trusted(node, trust, reading=True, named=_named(changed))
    data = made(node, "data")
    _check_classes(checkpoint, data)
    return data


def _merged(config: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint's config with the changes in it, links unfollowed."""
    new, base = changed["data"], {**config, **changed}
    if "_target_" in new:
        return {**base, "data": {"resize": found(config, "data.resize"), **new}}
    return {**base, "data": merged(base, config["data"], new)}


def _named(changed: Mapping[str, Any]) -> Collection[str]:
    """Constructors that the user's words name for data."""
    rest = {key: node for key, node in changed.items() if key not in MADE_BY_THE_COMMAND}
    return set(targets(rest))


def _check_classes(checkpoint: Mapping[str, Any], data: Any) -> None:
    known, given = followed(checkpoint["config"], "num_classes"), data.num_classes
    if given != known:
        raise ValueError(f"the checkpoint's model knows {known} classes, the data have {given}")
    names = tuple(checkpoint["classes"])
    if data.expected is not None and tuple(data.expected) != names:
        raise ValueError(f"the model was trained on the classes {names}, not on {data.expected}")
