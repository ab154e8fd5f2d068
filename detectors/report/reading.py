"""Reads a run folder for its report."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from detectors.average_precision.files import read_found, read_truth
from detectors.average_precision.matching import Found, Matches, Truth, match
from detectors.studies.measured import read_json
from detectors.visualization.curves import Curves, read_curves

EVALUATED = ("truth.json", "detections.json")


class Evaluated(NamedTuple):
    """What the run has found, and what was to be found."""

    truth: Truth
    found: Found
    matches: Matches
    images: Sequence[Mapping[str, Any]]  # of `truth.json`, in the order of `truth.image_ids`


class RunFolder(NamedTuple):
    """What a run folder tells. A file that is not there is empty."""

    folder: Path
    record: Mapping[str, Any]  # run.json
    config: Mapping[str, Any]
    environment: Mapping[str, Any]
    words: Sequence[str]  # as they were typed
    curves: Curves
    metrics: Mapping[str, float]  # metrics.json, without the name of the split
    split: str
    evaluated: Evaluated | None  # None: it has not come to that


def read_run(folder: Path) -> RunFolder:
    """All of it.

    Raises:
        ValueError: it is no folder of a run, or one of its files is broken; names the file.
    """
    there = [name for name in ("run.json", "truth.json") if (folder / name).is_file()]
    if not there or not (folder / "config.yaml").is_file():
        raise ValueError(
            f"run={folder} is no folder of a run: it has no config.yaml, or neither run.json nor "
            "truth.json. Name a folder that `detectors train` or `detectors evaluate` has written"
        )
    scores = _json(folder / "metrics.json")
    return RunFolder(
        folder=folder,
        record=_json(folder / "run.json"),
        config=_yaml(folder / "config.yaml"),
        environment=_json(folder / "environment.json"),
        words=_lines(folder / "overrides.txt"),
        curves=read_curves(folder),
        metrics={name.partition("/")[2]: value for name, value in scores.items()},
        split=next(iter(scores), "val/").partition("/")[0],
        evaluated=_evaluated(folder),
    )


def _json(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}


def _yaml(file: Path) -> dict[str, Any]:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"{file} is not YAML: {error}") from error


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _evaluated(folder: Path) -> Evaluated | None:
    if not all((folder / name).is_file() for name in EVALUATED):
        return None
    truth = read_truth(folder / "truth.json")
    found = read_found(folder / "detections.json", truth)
    told = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
    images = {image["id"]: image for image in told["images"]}
    ordered = [images[number] for number in truth.image_ids.tolist()]
    return Evaluated(truth, found, match(truth, found), ordered)
