"""Refuses words that mean nothing where a model is fitted stage by stage."""

import re
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from detectors.config.paths import key

TARGET = "detectors.fitted.detector.FittedDetector"
TRAINERS = ("default", "cpu", "gpu", "mps")  # those that set nothing beside the device
SHOWN = ("progress", "pictures")  # callbacks that an evaluation has too
STEPPING = {"default", "early_stopping"}  # choices with others
# Values that say what is so anyway, with any key and with some.
IDLE = ("", "[]", "null", "none", "false")
SO_ANYWAY = {
    "precision": ("auto", "32-true", "32"),
    "trainer.precision": ("32-true", "32"),
    "select": ("last",),
    "data.decode": ("exact",),
    "trainer.devices": ("auto", "1"),
    **dict.fromkeys(("trainer.num_nodes", "trainer.accumulate_grad_batches"), ("1",)),
}

_STEPS = "a fitted model is fitted in stages, without epochs and steps of an optimiser"
_STATES = "a fitted model has one state, that of its last stage"
_DEVICE = "a fitted model is fitted on one device"
_NUMBERS = "a fitted model computes in float32"
_NETWORK = "there is no network whose loss would be compiled or laid out"
_START = "a fitted model begins with nothing, or with the file that its part names"
_PICTURES = "the stages of a fitted model look at the training pictures as they are, one by one"

# Groups, and keys with all below them.
MEANINGLESS = {
    "trick": "a fitted model takes no part in the tricks: choose its parts and their numbers by "
    "words, such as postprocess=nms or part.fitted.KEY=VALUE",
    "debug": f"{_STEPS}; with fewer pictures it is done sooner",
    "clustering": "a fitted model has no priors",
    "batch_tricks": _PICTURES,
    "compile": _NETWORK,
    "channels_last": _NETWORK,
    "precision": _NUMBERS,
    "select": _STATES,
    **dict.fromkeys(("weights", "weights_classes"), _START),
    **dict.fromkeys(("optimizer", "warmup", "schedule", "learning_rate"), _STEPS),
    **dict.fromkeys(("augment", "data.augment", "data.mix", "data.closing"), _PICTURES),
    **dict.fromkeys(("data.balance", "data.multiscale", "data.mix_block"), _PICTURES),
    **dict.fromkeys(("data.decode", "data.min_objects"), _PICTURES),
    **dict.fromkeys((f"trainer.{name}" for name in ("devices", "num_nodes", "strategy")), _DEVICE),
    "trainer.precision": _NUMBERS,
}
# What else `trainer` has belongs to an evaluation.
EVALUATING = (
    *("device", "limit_val_batches", "limit_test_batches", "deterministic", "benchmark"),
    *("enable_progress_bar", "loggers", "default_root_dir", "callbacks"),
)


def is_fitted(cfg: DictConfig) -> bool:
    """Whether the model of a config is fitted stage by stage."""
    return OmegaConf.select(cfg, "model._target_", throw_on_missing=False) == TARGET


def check_fitted(cfg: DictConfig, words: Sequence[str]) -> None:
    """Refuse words without effect on a fitted model, where the config describes one.

    Args:
        cfg: what they compose.

    Raises:
        ValueError: names the word and the reason.
    """
    for word, reason in meaningless(cfg, words).items():
        raise ValueError(f"{word}: {reason}")


def meaningless(cfg: DictConfig, words: Sequence[str]) -> dict[str, str]:
    """The words without effect on the fitted model of a config, each with the reason."""
    if not is_fitted(cfg):
        return {}
    raw: Any = OmegaConf.to_container(cfg, resolve=False)
    reasons = {word: _reason(key(word), word.partition("=")[2], raw) for word in words}
    return {word: reason for word, reason in reasons.items() if reason is not None}


def _reason(name: str, value: str, raw: Any) -> str | None:
    """Why a key or a group means nothing with this value; None if it means something."""
    if value in SO_ANYWAY.get(name, ()):
        return None
    for place, reason in MEANINGLESS.items():
        if f"{name}.".startswith(f"{place}."):
            return None if value in IDLE else reason
    outer, _, inner = name.partition(".")
    first = inner.partition(".")[0]
    if name == "trainer":
        return None if value in TRAINERS else f"{_STEPS}, and on one device"
    if outer == "trainer" and first not in EVALUATING:
        return None if value == "null" else _STEPS
    if outer == "callback" and first and first not in SHOWN and first in raw["callback"]:
        return f"{_STEPS}, at which this callback would act"
    if name == "callback" and set(re.findall(r"\w+", value)) & STEPPING:
        return f"{_STEPS}, at which these callbacks would act; an evaluation has [evaluation]"
    return None
