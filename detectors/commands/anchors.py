"""Cluster the box shapes of a data set, for the priors of the YOLO families."""

import numpy as np
from omegaconf import DictConfig

from detectors.config.instantiate import instantiate
from detectors.data.anchor_clustering import canvas_shapes, clustered_shapes
from detectors.engine.build import configured_job


def main(cfg: DictConfig) -> float:
    """Print the shapes, how well they fit, and the YAML to paste; the mean IoU."""
    if cfg.count % cfg.levels:
        raise ValueError(f"count={cfg.count} shapes cannot be shared by levels={cfg.levels}")
    cfg = configured_job(cfg)
    data = instantiate(cfg, "data")
    boxes = canvas_shapes(data.annotations("train"), data.resize)
    shapes, fit = clustered_shapes(boxes, cfg.count, cfg.seed)
    print(f"{len(boxes)} boxes of the training split on a canvas of {data.resize.canvas}")
    print(f"mean IoU of a box with its nearest shape: {fit:.3f}\n")
    print(priors_yaml(shapes.round(2), cfg.levels))
    return fit


def priors_yaml(shapes: np.ndarray, levels: int) -> str:
    """A file for `conf/priors`: the shapes [k, 2], rising, in equal parts for `levels`."""
    rows = [f"  - {part.tolist()}" for part in np.split(shapes, levels)]
    head = ["# @package part.priors", "_target_: detectors.priors.BoxGrid", "shapes:"]
    return "\n".join([*head, *rows])
