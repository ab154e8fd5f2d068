"""Measures a detector on one split and writes the results."""

import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.pytorch import Trainer

from detectors.config.spelling import did_you_mean
from detectors.engine.console import console
from detectors.engine.memory import memory_told
from detectors.engine.run_folder import write_images, write_json
from detectors.metrics import reported, score_table, write_coco_results, write_coco_truth
from detectors.module import LitDetector
from detectors.structures import Annotations

_log = logging.getLogger(__name__)


class Evaluation(NamedTuple):
    """What an evaluation has found."""

    metrics: dict[str, float]  # by name, "val/AP" for one
    image_ids: np.ndarray  # [I] int64, of the evaluated pictures, rising


def check_objective(objective: str, numbers: Collection[str]) -> None:
    """Refuse a sweep's objective that is not among the numbers, named as "val/AP".

    Raises:
        ValueError: lists those there are.
    """
    if objective not in numbers:
        raise ValueError(
            f"objective={objective}, but the metrics report no such number."
            f"{did_you_mean(objective, numbers)} They report: {', '.join(numbers)}"
        )


def value_of(objective: str, metrics: Mapping[str, float]) -> float:
    """The metric that a sweep optimises.

    Raises:
        ValueError: no metric reports it; lists those there are.
    """
    check_objective(objective, metrics)
    return metrics[objective]


def numbers_of(module: LitDetector, data: Any, split: str) -> list[str]:
    """What an evaluation on the split will report, "val/AP" for one; its annotations are read."""
    return [f"{split}/{name}" for name in reported(module.metrics, data.annotations(split))]


def evaluate(
    module: LitDetector, data: Any, trainer: Trainer, split: str, folder: Path
) -> Evaluation:
    """Metrics of `module` on "val" or "test".

    They are printed as a table and written to `metrics.json`, the detections as COCO results to
    `detections.json`, the ground truth of the evaluated pictures to `truth.json`, and to
    `images.json` which picture each image_id is.
    """
    run = trainer.validate if split == "val" else trainer.test
    with memory_told():
        run(module, datamodule=data, verbose=False)
    prefix = f"{split}/"
    values = trainer.callback_metrics.items()
    metrics = {name: float(value) for name, value in values if name.startswith(prefix)}
    metric = module.evaluations[split]
    truth, found = metric.evaluated()  # gathered, so every process takes part
    if trainer.is_global_zero:
        write_coco_results(folder / "detections.json", found, truth.category_ids)
        names = write_images(data.data.source(split), folder)
        write_coco_truth(folder / "truth.json", truth, names)
        write_json(folder / "metrics.json", metrics)
        console().print(score_table({name.removeprefix(prefix): v for name, v in metrics.items()}))
    return Evaluation(metrics, truth.image_ids)


def warn_of_crowds(most: int | None, truth: Annotations) -> None:
    """Tell how many pictures hold more objects than a detector can find in one.

    Args:
        most: `LitDetector.most_found`; nothing is told where it is unknown.
        truth: of the pictures; crowds and difficult objects need not be found.
    """
    owners = truth.owners()[~(truth.crowd | truth.difficult)]
    objects = np.bincount(owners, minlength=len(truth.image_ids))
    crowded = 0 if most is None else int((objects > most).sum())
    if crowded:
        _log.warning(
            "%d of %d pictures hold more objects, up to %d, than the %d that this detector can "
            "find in one, so it misses some whatever it learns: train with a larger "
            "part.postprocess.detections, with more corners in part.head.head.grouping where these "
            "are grouped, or with a larger tta.detections where views are merged",
            crowded,
            len(objects),
            objects.max(),
            most,
        )
