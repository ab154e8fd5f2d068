"""Settles what the config leaves to this machine: words whose value is `auto`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.pytorch import Trainer
from omegaconf import DictConfig, OmegaConf

from detectors.config.compose import compose
from detectors.config.links import followed
from detectors.config.paths import key
from detectors.config.words import words_of_job
from detectors.engine.build import configured
from detectors.engine.checkpoint import training_file
from detectors.engine.trainer import assemble
from detectors.module import LitData, LitDetector
from detectors.weights.checkpoint import load_checkpoint

AUTO = "auto"

Assembled = tuple[LitDetector, LitData, Trainer]
Trial = Callable[..., Assembled]  # assembles the run with the word of the key as given
Choice = Callable[[DictConfig, Trial], Any]  # the value for a config


def settled(cfg: DictConfig, choices: dict[str, Choice]) -> tuple[list[str], DictConfig]:
    """The words of the running job and what they compose, each `auto` replaced.

    A run that goes on has what it began with; any other what its choice finds by a trial on this
    machine. Where no `auto` is said, both are as they are.

    Args:
        choices: how the value of a key is found, by the key, in the order in which they are asked.

    Raises:
        ValueError: by a choice.
    """
    words, name = words_of_job(), str(HydraConfig.get().job.config_name)
    for place, choose in choices.items():
        if OmegaConf.select(cfg, place) != AUTO:
            continue
        value = _of_checkpoint(cfg, place)
        if value is None:
            value = choose(cfg, _trial(words, name, place))
        words = with_value(words, place, value)
        cfg = compose(words, name)
    return words, cfg


def with_value(words: Sequence[str], place: str, value: Any) -> list[str]:
    """The words with this value for a key in the place of what they say of it."""
    told = str(value).lower() if isinstance(value, bool) else value
    return [*(word for word in words if key(word) != place), f"{place}={told}"]


def _of_checkpoint(cfg: DictConfig, place: str) -> Any:
    """The value with which the run began that goes on; None: it begins now."""
    file = None if cfg.ckpt_path is None else training_file(cfg.ckpt_path, Path(cfg.run_dir))
    return None if file is None else followed(load_checkpoint(file)["config"], place)


def _trial(words: Sequence[str], name: str, place: str) -> Trial:
    def assembled(value: Any) -> Assembled:
        said = with_value(words, place, value)
        trial = configured(said, name, compose(said, name))
        trial.logger, trial.data.cache = {}, None
        return assemble(trial)

    return assembled


def check_alone(trainer: Trainer, place: str) -> None:
    """Refuse several processes, each of which would find a value of its own.

    Raises:
        ValueError: they are more than one.
    """
    processes = trainer.num_devices * trainer.num_nodes
    if processes > 1:
        raise ValueError(
            f"{place}=auto: the run has {processes} processes, which might find different values: "
            f"find it on one device, with trainer=gpu or trainer=cpu, and say it here"
        )
