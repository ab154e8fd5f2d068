"""Logs the report of a study to trackers, as one artifact."""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from detectors.config.compose import compose
from detectors.studies.design import Study, joined
from detectors.studies.tables import FILES as TABLES
from detectors.studies.tracking import mlflow_place, wandb_quiet

FILES = ("report.html", *TABLES, "results.json")


def publish(tracker: str, study: Study, folder: Path, store: Path, search: list[str]) -> str:
    """Log the files of the report where the study's runs are logged; a line that says where.

    Args:
        tracker: a logger of conf/logger, whose settings the words of the study's base may change.
        folder: of the study, with its report.
        store: in which the run folders are.
        search: words that name folders of configs of the user's.
    """
    return TO[tracker](_settings(tracker, study, search), study.name, folder, store)


def _settings(tracker: str, study: Study, search: list[str]) -> dict[str, Any]:
    """Those of the logger, as runs of the study have or would have them."""
    cfg = compose([*search, *study.base])
    if tracker not in cfg.logger:
        cfg = compose([*search, *joined([*study.base, f"logger=[{tracker}]"])])
    node = cfg.logger[tracker]
    node.save_dir = str(study.name)  # the folder of a run, which there is none
    settings: Any = OmegaConf.to_container(node, resolve=True)
    return settings


def _to_wandb(settings: Mapping[str, Any], name: str, folder: Path, store: Path) -> str:
    if settings["offline"]:
        wandb_quiet()
    os.environ.setdefault("WANDB_DATA_DIR", str(folder.absolute() / "wandb"))
    import wandb

    mode: Literal["offline"] | None = "offline" if settings["offline"] else None
    mine = {key: settings[key] for key in ("project", "entity") if key in settings}
    artifact = wandb.Artifact(f"{re.sub(r'[^A-Za-z0-9_.-]', '-', name)}-report", "report")
    for file in FILES:
        artifact.add_file(str(folder / file))
    try:
        run = wandb.init(
            **mine, mode=mode, group=name, name=f"{name}/report", job_type="report", dir=folder
        )
    except wandb.errors.Error as error:
        raise ValueError(f"to=[wandb]: {error} (logger.wandb.offline=true needs no key)") from error
    run.log_artifact(artifact)
    run.finish()
    name = artifact.name.partition(":")[0]
    return f"wandb has the report as artifact {name} of run {Path(run.dir).parent}"


def _to_mlflow(settings: Mapping[str, Any], name: str, folder: Path, store: Path) -> str:
    uri, place = mlflow_place(store, settings["tracking_uri"])
    from mlflow.tracking import MlflowClient

    client, experiment = MlflowClient(uri), str(settings["experiment_name"])
    known = client.get_experiment_by_name(experiment)
    number = known.experiment_id if known else client.create_experiment(experiment, place)
    run = client.create_run(number, tags={"study": name}, run_name=f"{name}/report").info.run_id
    for file in FILES:
        client.log_artifact(run, str(folder / file), "report")
    client.set_terminated(run)
    return f"mlflow has the report as artifact of run {run} in {uri}"


TO: Mapping[str, Callable[[Mapping[str, Any], str, Path, Path], str]] = {
    "wandb": _to_wandb,
    "mlflow": _to_mlflow,
}
