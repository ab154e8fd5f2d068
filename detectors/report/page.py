"""Makes the page of one run."""

import json
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from detectors.config.references import leaves
from detectors.metrics.report import KINDS
from detectors.report import breakdown, figures
from detectors.report.pictures import Read, drawing, shown
from detectors.report.reading import Evaluated, RunFolder
from detectors.studies.decimals import fixed, many
from detectors.studies.errors import KINDS as ERRORS
from detectors.studies.errors import error_costs
from detectors.visualization.pages import rendered

PAGE, STYLE, SCRIPT = (Path(__file__).with_name(f"page.{kind}") for kind in ("html", "css", "js"))
NONE = "\u2013"  # a dash
PICTURES = 24
ROOM = 3_800_000  # bytes of all pictures: with the rest the page stays under 5 MB

Origins = Callable[[], Mapping[str, str]]


def page(run: RunFolder, read: Read, origins: Origins) -> str:
    """The report of a run as HTML.

    Args:
        run: what its folder tells.
        read: gives a picture by its id.
        origins: where each value of the config comes from, by its key; a `ValueError` of it is
            told on the page.
    """
    values = {
        "own": STYLE.read_text(encoding="utf-8"),
        "script": SCRIPT.read_text(encoding="utf-8"),
        "title": name_of(run),
        "kicker": _kicker(run),
        "summary": _summary(run),
        "trouble": trouble(run),
        "tiles": [(name, value) for name, value in _tiles(run) if value],
        "training": figures.training(run),
        "validation": figures.validation([("", run)]),
        "split": run.split,
        "scores": {n: v for n, v in run.metrics.items() if _is_coco(n)},
        "others": {n: v for n, v in run.metrics.items() if not n.startswith(("AP", "AR"))},
        "evaluated": run.evaluated,
        "facts": list(facts(run)),
        "command": shlex.join(["detectors", "train", *run.words]) if run.record else "",
        "config": [(key, _told(value)) for key, value in leaves(dict(run.config))],
        "environment": [(n, _told(v)) for n, v in leaves(dict(run.environment)) if v],
        **_origins(origins),
        **(_evaluated(run.evaluated, read) if run.evaluated else {}),
    }
    return rendered(PAGE, values, {"points": points})


def _origins(origins: Origins) -> dict[str, Any]:
    try:
        return {"origins": origins(), "lost": ""}
    except ValueError as error:
        return {"origins": {}, "lost": f"Where the values come from cannot be told: {error}"}


def _evaluated(evaluated: Evaluated, read: Read) -> dict[str, Any]:
    """What follows from truth and detections."""
    threshold = breakdown.best_threshold(evaluated)
    confusion = breakdown.confusion(evaluated, threshold.score)
    costs = error_costs(evaluated.truth, evaluated.found, evaluated.matches)
    worst = breakdown.worst_pictures(evaluated, threshold.score, PICTURES)
    calibration = breakdown.calibration(evaluated)
    curves = breakdown.mean_curves(evaluated), breakdown.precision_curves(evaluated)
    return {
        "threshold": threshold,
        "classes": breakdown.classes(evaluated, threshold.score),
        "precision": figures.precision_recall(*curves),
        "confusion": confusion,
        "totals": confusion.totals.tolist(),
        "errors": {kind: float(cost[0]) for kind, cost in costs.items()},
        "kinds": ERRORS,
        "sizes": breakdown.by_size(evaluated),
        "shapes": breakdown.by_shape(evaluated),
        "crowds": breakdown.by_crowding(evaluated),
        "calibration": calibration,
        "reliability": figures.reliability(calibration),
        "pictures": shown(evaluated, worst, threshold.score, read, ROOM),
        "drawing": drawing,
    }


def points(value: float | None) -> str:
    """A score of 0 to 1 in points; a dash where it is undefined."""
    return NONE if value is None or value < 0 else fixed(100 * value)


def name_of(run: RunFolder) -> str:
    """What was trained: the family with its tricks, or the folder of an evaluation."""
    if not run.record:
        return run.folder.resolve().name
    tricks = run.record.get("tricks") or []
    return " + ".join([str(run.record.get("model") or "a detector"), *tricks])


def trouble(run: RunFolder) -> str:
    """Why the run has no result; empty where it has one."""
    state, debug = run.record.get("state", "done"), run.record.get("debug")
    if state == "done":
        return f"A debug run (debug={debug}): its numbers are no result." if debug else ""
    if state == "running":
        return "This run has not ended: its record says that it is running."
    reason = run.record.get("reason") or run.record.get("error") or "no reason is recorded"
    return f"This run has {state}: {reason}"


def _stage(found: Mapping[str, float]) -> str:
    """What a stage of a fitted model says of itself."""
    told = [f"{name} {value:,.6g}" for name, value in found.items() if name != "seconds"]
    return ", ".join([*told, f"{found['seconds']:.1f} s"])


def _kicker(run: RunFolder) -> str:
    parts = [f"Run {run.folder.resolve().name}", f"seed {run.config.get('seed', NONE)}"]
    if started := run.record.get("started"):
        parts.append(str(started).replace("T", " ").removesuffix("+00:00"))
    return " · ".join(parts)


def _summary(run: RunFolder) -> str:
    record, data = run.record, run.record.get("data") or {}
    if not record:
        return f"Evaluated on {run.split}."
    count = len(data.get("classes") or [])
    classes = f"{count} class" if count == 1 else f"{count} classes"
    stages = record.get("stages")
    spent = (
        f"Fitted in {many(len(stages), 'stage')}"
        if stages is not None
        else (f"Trained for {many(int(record.get('epochs') or 0), 'epoch')}")
    )
    told = f"{spent} on {classes}"
    if data.get("images"):
        which = "last" if record.get("select") == "last" else "best"
        told += f"; the {which} weights measured on {many(data['images'], 'picture')} ({run.split})"
    return told + "."


def _tiles(run: RunFolder) -> list[tuple[str, str]]:
    record = run.record
    latency = record.get("latency") or {}
    return [
        ("AP", points(run.metrics["AP"]) if "AP" in run.metrics else ""),
        ("AP50", points(run.metrics["AP50"]) if "AP50" in run.metrics else ""),
        *costs(record),
        ("latency", f"{latency['median_ms']:.1f} ms" if latency else ""),
    ]


def costs(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run took, in units that one reads."""
    memory = record.get("memory") or {}
    return [
        ("parameters", _large(record.get("parameters"), 1e6, "M")),
        ("operations", _large(record.get("flops"), 1e9, "G")),
        ("pictures seen", f"{record['images_seen']:,}" if record.get("images_seen") else ""),
        ("training", _duration(record.get("train_seconds"))),
        ("evaluation", _duration(record.get("evaluation_seconds"))),
        ("pictures a second", _large(record.get("images_per_second"), 1, "")),
        ("memory, process", _large(memory.get("process"), 2**30, " GiB")),
        ("memory, device", _large(memory.get("device"), 2**30, " GiB")),
    ]


def _large(value: float | None, unit: float, name: str) -> str:
    return "" if not value else f"{value / unit:.2f}{name}"


def _duration(seconds: float | None) -> str:
    if not seconds:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def facts(run: RunFolder) -> list[tuple[str, str]]:
    """What a reader needs to know to believe the numbers."""
    record, data = run.record, run.record.get("data") or {}
    latency = record.get("latency") or {}
    times = "{median_ms:.1f} ms, quartiles {iqr_ms:.1f} ms apart"
    named = {
        "words": " ".join(record.get("words") or run.words),
        "classes": ", ".join(data.get("classes") or []),
        "data": data.get("fingerprint"),
        "key": record.get("key"),
        "picture size": " x ".join(map(str, record.get("image_size") or [])),
        "batch size": record.get("batch_size"),
        **{f"stage {name}": _stage(found) for name, found in (record.get("stages") or {}).items()},
        "precision": record.get("precision"),
        "device": record.get("device_name"),
        "devices": record.get("devices"),
        "threads": record.get("threads"),
        "latency, one picture": times.format(**latency)
        if latency
        else record.get("latency_missing"),
        "commit": record.get("git_commit") or run.environment.get("git_commit"),
        "uncommitted changes": record.get("git_changes"),
        "folder": str(run.folder.resolve()),
    }
    return [(name, str(value)) for name, value in named.items() if value not in (None, "")]


def _is_coco(name: str) -> bool:
    return name.startswith(KINDS[:2]) and "/" not in name


def _told(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
