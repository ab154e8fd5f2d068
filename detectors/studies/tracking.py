"""Says how trackers find the runs of a study, and where MLflow keeps them."""

import fcntl
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from detectors.studies.design import Cell

STUDY, RUN = "DETECTORS_STUDY", "DETECTORS_RUN"  # variables that a study sets for its runs
DATABASE, ARTIFACTS = "mlflow.db", "mlflow_artifacts"  # beside run folders
NEEDED = ("mlflow", "sqlalchemy", "alembic")  # for a database in a file

TABLES = "import sys; from mlflow import MlflowClient; MlflowClient(sys.argv[1])"


def named(study: str, cell: Cell) -> dict[str, str]:
    """The environment by which trackers show the run of a cell; it changes nothing else."""
    return {STUDY: study, RUN: f"{cell.variant}/{cell.seed}"}


def mlflow_place(folder: str | Path, uri: str | None) -> tuple[str, str | None]:
    """Where MLflow keeps runs whose folders are in this one, and their files; None: it decides.

    Args:
        uri: what the user says; None: the variable MLFLOW_TRACKING_URI, else a file in the folder.

    Raises:
        ValueError: MLflow is not installed.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        raise ValueError(f"mlflow needs {missing[0]}: pip install 'lightning-detectors[mlflow]'")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nothing goes out unasked
    if said := uri or os.environ.get("MLFLOW_TRACKING_URI"):
        return said, None
    place = Path(folder).absolute()
    _make(place / DATABASE)
    return f"sqlite:///{place / DATABASE}", (place / ARTIFACTS).as_uri()


def _make(database: Path) -> None:
    """Make it whole or not at all: of two runs that begin at once, each would spoil the other's."""
    if database.exists():
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    beside = database.with_name(f".{database.name}.part")
    with database.with_name(f".{database.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if database.exists():
            return
        beside.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", TABLES, f"sqlite:///{beside}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            told = " ".join(done.stderr.split()[-40:])
            raise ValueError(f"mlflow cannot make {database}: {told}")
        os.replace(beside, database)


def wandb_quiet() -> None:
    """Let Weights & Biases report no errors of its own either: nothing goes out unasked."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
