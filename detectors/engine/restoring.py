"""Makes what a checkpoint describes, from its own config and by constructors that are trusted."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import nn

from detectors.classification.classifier import Classifier
from detectors.config.instantiate import instantiate, made
from detectors.config.links import followed, found, merged, replaced, targets, with_links
from detectors.config.trust import check_trusted
from detectors.detector import Detector
from detectors.weights.checkpoint import load_checkpoint, stored_weights
from detectors.weights.initial import unread

OF_THE_COMMAND = (  # keys that do not change data
    *("callback", "ckpt_path", "device", "logger", "metrics", "objective", "precision"),
    *("run_dir", "split", "trainer", "trust", "tta"),
)
TRAINING = ("augment", "mix", "closing", "balance", "multiscale")  # keys of data
MARK = "<what a word sets>"


def restored_detector(checkpoint: Mapping[str, Any], trust: Sequence[str]) -> Detector:
    """The detector with the checkpoint's weights: the averaged ones, if there was an average.

    Args:
        trust: packages beyond ours that the config may name.

    Raises:
        ValueError: the config names code that is not trusted, or the model is no detector.
    """
    node = followed(checkpoint["config"], "model")
    parts = [node.get(name) for name in ("backbone", "fitted")] if isinstance(node, dict) else []
    if not any(isinstance(part, dict) for part in parts):
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
    detector.classes = tuple(checkpoint.get("classes", ()))
    return detector


def loaded(file: str | Path, trust: Sequence[str] = ()) -> Detector:
    """See `detectors.load`."""
    return restored_detector(load_checkpoint(Path(file)), trust).eval()


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


def restored_data(
    checkpoint: Mapping[str, Any],
    changes: DictConfig,
    trust: Sequence[str],
    words: Sequence[str] = (),
    split: str = "val",
) -> Any:
    """The data module of the checkpoint, changed, with the labels that its model knows.

    Args:
        changes: a config with another `data` node, or with some keys of it. A new node keeps the
            old resize if it has none. What a link names is read in `changes` first, and a key that
            is changed changes whatever refers to it.
        words: overrides that made the changes; each must reach what the evaluation reads.
        split: that will be evaluated.

    Raises:
        ValueError: the classes of new data are not those that the model knows, a word changes
            nothing, or the checkpoint's config names code that is not trusted.
    """
    changed = with_links(changes)
    config = _merged(checkpoint["config"], changed)
    node = followed(config, "data")
    check_trusted(node, trust, reading=True, named=_named(changed))
    _check_words(config, words, split)
    data = made(node, "data")
    known = followed(checkpoint["config"], "num_classes")
    if data.num_classes not in (None, known):
        raise ValueError(
            f"the checkpoint's model knows {known} classes, the data have {data.num_classes}"
        )
    data.order = tuple(checkpoint["classes"])
    return data


def _check_words(config: Mapping[str, Any], words: Sequence[str], split: str) -> None:
    """Refuse words for data that the evaluation of the split does not read.

    Raises:
        ValueError: names the word.
    """
    for word in words:
        key = word.lstrip("+~").partition("=")[0]
        top, _, rest = key.partition(".")
        added = word.startswith("+") and top not in (*OF_THE_COMMAND, "data", "hydra")
        if (added or (top == "data" and rest)) and not _read(config, key, split):
            raise ValueError(
                f"{word}: the evaluation of {split} reads nothing that depends on {key}; set what "
                f"it reads, such as +data.{split}.KEY or +data.resize.size"
            )


def _read(config: Mapping[str, Any], key: str, split: str) -> bool:
    """Whether the data of a split depend on a key: a mark in its place is found in them."""
    marked = replaced(config, key, MARK)
    node = followed(marked, "data")
    unread = {*TRAINING, "train", "val", "test"} - {split}
    return MARK in str({name: value for name, value in node.items() if name not in unread})


def _merged(config: Mapping[str, Any], changed: Mapping[str, Any]) -> dict[str, Any]:
    """The checkpoint's config with the changes in it, links unfollowed."""
    new, base = changed["data"], {**config, **changed}
    if "_target_" in new:
        return {**base, "data": {"resize": found(config, "data.resize"), **new}}
    return {**base, "data": merged(base, config["data"], new)}


def _named(changed: Mapping[str, Any]) -> Collection[str]:
    """Constructors that the user's words name for data."""
    rest = {key: node for key, node in changed.items() if key not in OF_THE_COMMAND}
    return set(targets(rest))
