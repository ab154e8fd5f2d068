"""Reads a finished run folder and computes its numbers from detections and ground truth."""

import csv
import functools
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detectors.average_precision.files import read_found, read_truth
from detectors.average_precision.matching import Found, Matches, Truth, match
from detectors.average_precision.weighted import bootstrap_weights, scores
from detectors.studies.effects import DRAWS
from detectors.studies.errors import error_costs

SEED = 0  # of the draws, which all runs of the same pictures share
READ = ("run.json", "truth.json", "detections.json", "images.json", "metrics.csv", "metrics.json")
NEEDED = READ[:3]
AT_ONCE = 512  # pictures that are left out, one by one, in one go
TIDE = "TIDE/"  # before the name of a kind of error


class Measured(NamedTuple):
    """A run in AP points."""

    folder: Path
    record: Mapping[str, Any]  # run.json
    points: Mapping[str, float | None]  # by metric; None where there is no object to find; of each
    # kind of error, "TIDE/Cls" for one, the AP50 that it costs
    draws: Mapping[str, np.ndarray]  # [W] by metric, of resampled pictures; NaN where undefined
    influence: np.ndarray  # [I] what the primary metric gains by each picture
    pictures: tuple[int, ...]  # [I] their ids
    curve: Mapping[int, float]  # primary metric by epoch
    hashes: Mapping[str, str]  # SHA-256 of each file that tells what the run has found


def reader(metric: str) -> Callable[[Path], Measured]:
    """A function that measures a run folder; it keeps the last ground truth for the next run.

    Args:
        metric: the primary one.
    """
    kept: dict[str, Truth] = {}

    def read(folder: Path) -> Measured:
        hashes = {name: hashed(folder / name) for name in READ if (folder / name).is_file()}
        _check(folder, hashes)
        if hashes["truth.json"] not in kept:
            kept.clear()
            kept[hashes["truth.json"]] = read_truth(folder / "truth.json")
        return _measured(folder, kept[hashes["truth.json"]], metric, hashes)

    return read


def read_json(file: Path) -> Any:
    """What a JSON file says.

    Raises:
        ValueError: it is none; names the file.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is not JSON ({error}): write it again, or run it anew") from error


def hashed(file: Path) -> str:
    """SHA-256 of its bytes, in hex digits."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _check(folder: Path, hashes: Mapping[str, str]) -> None:
    missing = [name for name in NEEDED if name not in hashes]
    if missing:
        raise ValueError(
            f"{folder} has no {' and no '.join(missing)}, which every finished run of "
            "`detectors train` writes: train it again, or leave it out"
        )


def _measured(folder: Path, truth: Truth, metric: str, hashes: Mapping[str, str]) -> Measured:
    record = read_json(folder / "run.json")
    found = read_found(folder / "detections.json", truth)
    matches = match(truth, found)
    numbers = _numbers(truth, found, matches, _weights(len(truth.image_ids), DRAWS))
    _check_metric(metric, numbers)
    return Measured(
        folder=folder,
        record=record,
        points={name: _points(values[0]) for name, values in numbers.items()},
        draws={
            name: np.where(values[1:] < 0, np.nan, 100 * values[1:])
            for name, values in numbers.items()
        },
        influence=_influence(matches, metric),
        pictures=tuple(truth.image_ids.tolist()),
        curve=_curve(folder / "metrics.csv", f"{record['split']}/{metric}"),
        hashes=hashes,
    )


@functools.lru_cache(maxsize=1)
def _weights(pictures: int, draws: int) -> np.ndarray:
    """[1 + draws, I] Every picture once, then resamples of them, which all runs share."""
    drawn = bootstrap_weights(pictures, draws, SEED)
    return np.concatenate([np.ones((1, pictures)), drawn])


def _numbers(
    truth: Truth, found: Found, matches: Matches, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """All metrics and the costs of all kinds of errors, [W] in [0, 1]."""
    costs = error_costs(truth, found, matches, weights)
    return scores(matches, weights) | {f"{TIDE}{k}": v for k, v in costs.items()}


def _points(score: float) -> float | None:
    return None if score < 0 else 100 * float(score)


def _check_metric(metric: str, known: Mapping[str, Any]) -> None:
    if metric not in known:
        raise ValueError(f"metric={metric}: the runs report no such number: {', '.join(known)}")


def _influence(matches: Matches, metric: str) -> np.ndarray:
    """[I] What the metric loses, in points, when each picture is left out; 0 where undefined."""
    lost = [scores(matches, metric=metric)[metric]]
    for start in range(0, matches.pictures, AT_ONCE):
        rows = np.arange(start, min(start + AT_ONCE, matches.pictures))
        weights = np.ones((len(rows), matches.pictures))
        weights[np.arange(len(rows)), rows] = 0
        lost.append(scores(matches, weights, metric)[metric])
    whole, left = np.split(np.concatenate(lost), [1])
    return np.where((left < 0) | (whole < 0), 0.0, 100 * (whole - left))


def _curve(file: Path, column: str) -> dict[int, float]:
    """A metric in points at the end of each epoch, counted from 1; empty where none is kept."""
    if not file.is_file():
        return {}
    with file.open(newline="", encoding="utf-8") as opened:
        rows = [row for row in csv.DictReader(opened) if row.get(column) and row.get("epoch")]
    found = {int(float(row["epoch"])) + 1: 100 * float(row[column]) for row in rows}
    return {epoch: points for epoch, points in found.items() if points >= 0}
