"""Finds the classes in the training data and puts them into the config."""

import logging

from omegaconf import DictConfig, OmegaConf

from detectors.config.instantiate import instantiate

_log = logging.getLogger(__name__)


def with_classes(cfg: DictConfig) -> DictConfig:
    """The config with the names and the number of the classes that the training data have.

    Itself where `data.num_classes` is said, or where there are no data to have it.

    Raises:
        ValueError: the data cannot be read.
    """
    if OmegaConf.select(cfg, "data.num_classes", default=0) is not None:
        return cfg
    source = instantiate(cfg, "data.train")()
    names = source.annotations.classes
    _log.info("%d classes: %s", len(names), ", ".join(names))
    found = cfg.copy()
    found.data.num_classes = len(names)
    found.data.classes = list(names)
    return found
