"""Writes run folders of simulated detectors, as `detectors train` leaves them, without training."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np

from detectors.average_precision.files import read_found, read_truth
from detectors.average_precision.matching import match
from detectors.average_precision.weighted import scores

CLASSES = ("disk", "ring", "cross", "star")
WIDTH, HEIGHT = 320, 240
VERSIONS = {"python": "3.12.3", "torch": "2.11.0", "numpy": "2.4.0"}


def write_run(
    folder: Path, words: list[str], seed: int, skill: float, images: int = 40, **facts: Any
) -> Path:
    """A finished run of a detector that finds objects with a chance of `skill` in [0, 1].

    The pictures are the same for all runs of so many images, and so is how hard each object is; the
    seed decides what is found.

    Args:
        folder: of the run; made.
        words: of the command line without the seed.
        facts: of run.json that are to be others, `max_epochs=36` for one.
    """
    folder.mkdir(parents=True)
    truth = scenes(images)
    found = _found(truth, np.random.default_rng(seed), skill)
    _write(folder / "truth.json", truth)
    _write(folder / "detections.json", found)
    _write(folder / "images.json", [{"id": i["id"], "file_name": None} for i in truth["images"]])
    read = read_truth(folder / "truth.json")
    matches = match(read, read_found(folder / "detections.json", read))
    metrics = {name: float(v[0]) for name, v in scores(matches).items()}
    _write_curve(folder / "metrics.csv", metrics["AP"], seed)
    record = {**_record(words, seed, metrics, images), "key": folder.name, **facts}
    _write(folder / "run.json", record)
    return folder


def scenes(images: int) -> dict[str, Any]:
    """Ground truth of generated pictures, some without an object, one object in ten a crowd."""
    random = np.random.default_rng(17)
    objects: list[dict[str, Any]] = []
    for image in range(1, images + 1):
        for _ in range(random.integers(0, 6)):
            width, height = random.uniform(10, 120, 2)
            x, y = random.uniform(0, (WIDTH - width, HEIGHT - height))
            box = [round(float(number), 2) for number in (x, y, width, height)]
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": image,
                    "category_id": int(random.integers(1, len(CLASSES) + 1)),
                    "bbox": box,
                    "area": box[2] * box[3],
                    "iscrowd": int(random.random() < 0.03),
                    "difficult": 0,
                }
            )
    sizes = {"width": WIDTH, "height": HEIGHT, "file_name": None}
    return {
        "images": [{"id": image, **sizes} for image in range(1, images + 1)],
        "annotations": objects,
        "categories": [{"id": i, "name": name} for i, name in enumerate(CLASSES, 1)],
    }


def _found(truth: dict[str, Any], random: np.random.Generator, skill: float) -> list[dict]:
    """Jittered boxes of the objects that are found, and in each picture one that is false."""
    hard = np.random.default_rng(5).uniform(0, 1, len(truth["annotations"]))
    found = []
    for one, difficulty in zip(truth["annotations"], hard, strict=True):
        if random.normal(skill, 0.15) > difficulty:
            jitter = random.normal(0, 0.06, 4) * np.tile(one["bbox"][2:], 2)
            box = [round(float(n), 3) for n in np.asarray(one["bbox"]) + jitter]
            wrong = random.random() < 0.1
            label = one["category_id"] % len(CLASSES) + 1 if wrong else one["category_id"]
            found.append(_row(one["image_id"], label, box, random.uniform(0.4, 1)))
    for image in truth["images"]:
        box = [*random.uniform(0, 150, 2).tolist(), *random.uniform(20, 80, 2).tolist()]
        label = int(random.integers(1, len(CLASSES) + 1))
        found.append(_row(image["id"], label, box, random.uniform(0.05, 0.6)))
    return found


def _row(image: int, label: int, box: list[float], score: float) -> dict[str, Any]:
    return {"image_id": image, "category_id": label, "bbox": box, "score": round(float(score), 5)}


def _write(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content), encoding="utf-8")


def _write_curve(file: Path, last: float, seed: int, epochs: int = 6) -> None:
    random = np.random.default_rng(seed)
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(["epoch", "step", "train/loss", "val/AP"])
        for epoch in range(epochs):
            share = 1 - np.exp(-(epoch + 1) / 2)
            value = last if epoch == epochs - 1 else last * share + random.normal(0, 0.01)
            writer.writerow([epoch, (epoch + 1) * 10, 1 / (epoch + 1), max(0.0, value)])


def _record(words: list[str], seed: int, metrics: dict[str, float], images: int) -> dict[str, Any]:
    """Run.json of a finished run of six epochs."""
    random = np.random.default_rng(seed)
    return {
        "format": 1,
        "state": "done",
        "reason": None,
        "exit_code": 0,
        "words": [*words, f"seed={seed}"],
        "model": "fcos",
        "tricks": [],
        "seed": seed,
        "split": "val",
        "data": {
            "training": "0f" * 8,
            "measured": "f0" * 8,
            "classes": list(CLASSES),
            "images": images,
            "image_ids": f"{images:064x}",
        },
        "code": {},
        "git_commit": "a" * 40,
        "versions": VERSIONS,
        "device": "cpu",
        "device_name": "a CPU",
        "devices": 1,
        "precision": "32-true",
        "threads": 1,
        "deterministic": False,
        "image_size": [96, 96],
        "max_epochs": 6,
        "parameters": 1_200_000,
        "flops": 800_000_000,
        "images_seen": 1200,
        "steps": 60,
        "epochs": 6,
        "train_seconds": 30 + float(random.uniform(0, 2)),
        "evaluation_seconds": 2.0,
        "images_per_second": 40.0,
        "memory": {"process": 900_000_000, "device": None},
        "select": "last",
        "measured_epoch": 5,
        "metrics": metrics,
        "latency": {"median_ms": 11 + float(random.uniform(0, 1)), "iqr_ms": 0.5, "batch": 1},
        "earlier": [],
    }
