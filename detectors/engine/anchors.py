"""Finds shapes of priors in the training data and puts them into the config as numbers."""

import logging
from typing import Any

import numpy as np
from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from detectors.config.instantiate import instantiate
from detectors.data.anchor_clustering import canvas_shapes
from detectors.priors import BoxGrid, CellShapes

_log = logging.getLogger(__name__)


def with_anchors(cfg: DictConfig) -> DictConfig:
    """The config with the shapes that `clustering` finds; itself where there is none.

    The priors become a `BoxGrid`, of as many shapes on each level as there were, in pixels of the
    network input, rising by area from the finest level on. No other shape competes with them.

    Raises:
        ValueError: the priors are no list of shapes, or the data have too few boxes.
    """
    if cfg.get("clustering") is None:
        return cfg
    per_level = shapes_per_level(cfg)
    shapes, fit = found_shapes(cfg, sum(per_level))
    _log.info("clustered %d shapes, mean IoU of a box with its nearest %.3f", len(shapes), fit)
    levels = np.split(shapes.round(2), np.cumsum(per_level)[:-1])
    found = cfg.copy()
    found.clustering = None
    found.part.priors._target_ = f"{BoxGrid.__module__}.{BoxGrid.__name__}"
    found.part.priors.shapes = [level.tolist() for level in levels]
    if "unused" in found.part.assigner:
        found.part.assigner.unused = []
    return found


def shapes_per_level(cfg: DictConfig) -> list[int]:
    """The number of shapes on each level of the config's priors.

    Raises:
        ValueError: they are no list of shapes.
    """
    priors: Any = OmegaConf.to_container(cfg.part.priors, resolve=True)
    if get_object(priors["_target_"]) not in (BoxGrid, CellShapes):
        raise ValueError(
            f"clustered shapes take the place of a list of shapes, and {priors['_target_']} has "
            "none: leave them, or choose priors that have, such as priors=yolov3"
        )
    return [len(level) for level in priors["shapes"]]


def found_shapes(cfg: DictConfig, count: int) -> tuple[np.ndarray, float]:
    """Shapes [count, 2] of the training boxes, rising by area, and how well they fit."""
    data = instantiate(cfg, "data")
    boxes = canvas_shapes(data.annotations("train"), data.resize)
    return instantiate(cfg, "clustering")(boxes, count)
