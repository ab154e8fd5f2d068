"""Makes the loggers of trackers, whose runs go on where ours do."""

import contextlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from PIL import Image

from detectors.files import whole_file
from detectors.studies.tracking import RUN, STUDY, mlflow_place, wandb_quiet

FILE = "trackers.json"  # in a run folder: what trackers call the run, by kind of tracker
HIDDEN = ("hydra.", "run_dir", "ckpt_path", "logger", "trick", "model")  # words that say no more
TOLD = (  # of `run.json`
    *("key", "model", "tricks", "seed", "select", "split", "batch_size", "image_size"),
    *("max_epochs", "precision"),
)


def wandb(
    save_dir: str, ckpt_path: str | None = None, offline: bool = True, **settings: Any
) -> WandbLogger:
    """A logger to Weights & Biases; a run that is resumed keeps its id.

    Args:
        save_dir: the run folder.
        ckpt_path: from which the run is resumed, if it is.
        settings: all other arguments of `WandbLogger` and of `wandb.init`.
    """
    if offline:
        wandb_quiet()
    known = known_ids(save_dir)["wandb"] if ckpt_path else None
    return WandbLogger(save_dir=save_dir, offline=offline, **{"id": known, **settings})


def mlflow(
    save_dir: str,
    ckpt_path: str | None = None,
    tracking_uri: str | None = None,
    **settings: Any,
) -> MLFlowLogger:
    """A logger to MLflow; a run that is resumed keeps its id.

    Args:
        save_dir: the run folder.
        ckpt_path: from which the run is resumed, if it is.
        tracking_uri: None: `mlflow.db` beside the run folder, which runs beside each other share,
            unless the variable MLFLOW_TRACKING_URI names another place.
        settings: all other arguments of `MLFlowLogger`.

    Raises:
        ValueError: MLflow is not installed.
    """
    uri, place = mlflow_place(Path(save_dir).absolute().parent, tracking_uri)
    known = known_ids(save_dir)["mlflow"] if ckpt_path else None
    return MLFlowLogger(
        tracking_uri=uri, **{"run_id": known, "artifact_location": place, **settings}
    )


def known_ids(folder: str | Path) -> dict[str, str | None]:
    """What trackers called the run of a folder; None where it had no such tracker."""
    ids: dict[str, str | None] = {"wandb": None, "mlflow": None}
    with contextlib.suppress(OSError, ValueError):
        ids |= json.loads(Path(folder, FILE).read_text(encoding="utf-8"))
    return ids


@rank_zero_only
def announce(loggers: list[Logger], folder: Path, facts: Mapping[str, Any]) -> None:
    """Tell trackers what a run is: its hyperparameters, and tags by which it is found.

    Args:
        folder: of the run.
        facts: `run.json`.
    """
    ids, tags = known_ids(folder), _tags(facts)
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_hyperparams(hyperparameters(facts))
            own = logger.experiment.tags or ()  # of the user's
            logger.experiment.tags = tuple(dict.fromkeys([*own, *_plain(tags)]))
            ids["wandb"] = logger.experiment.id
        if isinstance(logger, MLFlowLogger):
            run = _run_id(logger)
            if run != ids["mlflow"]:  # what MLflow has once been told it cannot unlearn
                logger.log_hyperparams(hyperparameters(facts))
            for name, value in tags.items():
                logger.experiment.set_tag(run, name, _listed(value))
            ids["mlflow"] = run
    if any(ids.values()):
        with whole_file(folder / FILE) as lines:
            json.dump(ids, lines)


@rank_zero_only
def conclude(
    loggers: list[Logger], facts: Mapping[str, Any], metrics: Mapping[str, float], objective: str
) -> None:
    """Tell trackers what a run has found, as `measured/AP` and the like.

    TensorBoard gets hyperparameters and `objective` alone, in its table of runs.

    Args:
        facts: `run.json`.
        metrics: of the measured weights.
    """
    measured = {f"measured/{name.partition('/')[2]}": value for name, value in metrics.items()}
    chosen = f"measured/{objective.partition('/')[2]}"
    for logger in loggers:
        if isinstance(logger, WandbLogger | MLFlowLogger):
            logger.log_metrics(measured, facts["steps"])
        if isinstance(logger, TensorBoardLogger) and chosen in measured:
            params = {n: _listed(value) for n, value in hyperparameters(facts).items()}
            logger.log_hyperparams(params, {chosen: measured[chosen]}, facts["steps"])


def shown_by(loggers: Sequence[Logger]) -> bool:
    """Whether any of them takes pictures."""
    return any(isinstance(one, WandbLogger | TensorBoardLogger | MLFlowLogger) for one in loggers)


@rank_zero_only
def show(loggers: Sequence[Logger], name: str, picture: Image.Image, step: int) -> None:
    """Give trackers a picture under a name; those before it stay, by their steps."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(name, [picture], step=step)
        elif isinstance(logger, TensorBoardLogger):
            pixels = np.asarray(picture.convert("RGB"))
            logger.experiment.add_image(name, pixels, step, dataformats="HWC")
        elif isinstance(logger, MLFlowLogger):
            file = f"{name}_{step:08d}.png"
            logger.experiment.log_image(_run_id(logger), picture, artifact_file=file)


def _run_id(logger: MLFlowLogger) -> str:
    """The id of the run, which is made here unless it goes on."""
    with contextlib.suppress(Exception):  # two runs that begin at once both make the experiment
        _ = logger.run_id
    return str(logger.run_id)


def hyperparameters(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was made of: its words by key, and what they come to."""
    words = (word.lstrip("+").split("=", 1) for word in facts["words"] if "=" in word)
    said = {place: value for place, value in words if not place.startswith(HIDDEN)}
    return {**said, **{name: facts[name] for name in TOLD}}


def _tags(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Study and variant, where the run is of a study, model and tricks."""
    study, run = os.environ.get(STUDY), os.environ.get(RUN, "")
    of_study = {"study": study, "variant": run.rpartition("/")[0]} if study else {}
    return {**of_study, "model": facts["model"], "tricks": facts["tricks"]}


def _plain(tags: Mapping[str, Any]) -> list[str]:
    """Values alone, each once, as long as Weights & Biases takes them."""
    values = [one for tag in tags.values() for one in (tag if isinstance(tag, list) else [tag])]
    return [*dict.fromkeys(str(value)[:64] for value in values if value)]


def _listed(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
