"""Computes every number and sentence of a study folder again and names those that differ."""

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from detectors.studies import tables
from detectors.studies.analysis import FORMAT, analyse, plain, signed
from detectors.studies.design import Study, read_study
from detectors.studies.measured import hashed, read_json

TOLERANCE = 1e-9  # relative: another machine may sum in another order
OF_RUN = 1e-7  # of a metric in [0, 1]: what trainers log is of single precision
SEAL = "<!-- SHA-256 of this page: "
SHOWN = 20  # differences that are named

Row = Mapping[str, Any]


def verify(folder: Path) -> list[str]:
    """What differs between a study folder and what its runs say; empty where all agrees.

    Detections, ground truth and records of all runs are read again from `runs/`, the study from
    `study.json`. Compared are their hashes, and where these agree what the runs reported, every
    number and sentence of `results.json`, and the tables letter by letter.

    Raises:
        ValueError: a file is missing; names it.
    """
    for name in ("results.json", "study.json", *tables.FILES):
        if not (folder / name).is_file():
            raise ValueError(f"{folder} has no {name}: write the report first, with study report")
    results = read_json(folder / "results.json")
    if results.get("format") != FORMAT:
        raise ValueError(
            f"{folder}: its report was written by another version of ours (format "
            f"{results.get('format')}, expected {FORMAT}), which computed otherwise: write it "
            f"again, detectors study report folder={folder}"
        )
    study = read_study(read_json(folder / "study.json"))
    found = list(_differences(results, study, folder))
    more = [f"and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    return [*found[:SHOWN], *more]


def _differences(results: Row, study: Study, folder: Path) -> Iterator[str]:
    changed = list(_changed_files(results, folder))
    if changed:
        yield from changed
        return
    again = analyse(study, *listed(results, folder), results["contract"]["accepted"])
    yield from _unlike_reported(again, folder)
    for name in sorted({*results, *again} - {"sha256"}):
        yield from _apart(results.get(name), again.get(name), f"results.json: {name}")
    if signed(results) != results:
        yield "results.json: its sha256 is that of another content"
    yield from _unlike_tables(results, folder)
    yield from _unlike_page(results, folder)


def listed(results: Row, folder: Path) -> tuple[dict[str, dict[int, Path]], dict[str, dict]]:
    """Folders of runs, and reasons of those that have no number, by variant and seed."""
    variants = results["variants"]
    runs = {
        v["name"]: {run["seed"]: folder.resolve() / run["folder"] for run in v["runs"]}
        for v in variants
    }
    failed = {v["name"]: {int(s): why for s, why in v["failed"].items()} for v in variants}
    return runs, failed


def _changed_files(results: Row, folder: Path) -> Iterator[str]:
    for variant in results["variants"]:
        for run in variant["runs"]:
            for name, told in run["files"].items():
                file = folder / run["folder"] / name
                if not file.is_file():
                    yield f"{run['folder']}/{name}: gone"
                elif hashed(file) != told:
                    yield f"{run['folder']}/{name}: changed since the report was written"


def _unlike_reported(again: Row, folder: Path) -> Iterator[str]:
    """Metrics that a run reported otherwise than its detections give."""
    for variant in again["variants"]:
        for run in variant["runs"]:
            reported = read_json(folder / run["folder"] / "run.json").get("metrics") or {}
            for name, points in run["metrics"].items():
                own = -1.0 if points is None else points / 100
                if abs(reported.get(name, own) - own) > OF_RUN:
                    yield (
                        f"{run['folder']}: {name} is {own:.9f} by its detections, but run.json "
                        f"says {reported[name]:.9f}"
                    )


def _apart(told: Any, again: Any, place: str) -> Iterator[str]:
    """Every leaf in which two JSON values differ."""
    if isinstance(told, Mapping) and isinstance(again, Mapping):
        for name in {**told, **again}:
            yield from _apart(told.get(name), again.get(name), f"{place}.{name}")
    elif isinstance(told, list) and isinstance(again, list) and len(told) == len(again):
        for row, (one, two) in enumerate(zip(told, again, strict=True)):
            yield from _apart(one, two, f"{place}[{row}]")
    elif not _same(told, again):
        yield f"{place}: {told!r} is written, {again!r} computed"


def _same(told: Any, again: Any) -> bool:
    numbers = [isinstance(x, int | float) and not isinstance(x, bool) for x in (told, again)]
    if all(numbers):
        return math.isclose(told, again, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return plain(told) == plain(again)


def _unlike_tables(results: Row, folder: Path) -> Iterator[str]:
    for name, text in tables.texts(results).items():
        lines, stored = text.splitlines(), (folder / name).read_text(encoding="utf-8").splitlines()
        for row in range(max(len(lines), len(stored))):
            one = stored[row] if row < len(stored) else "nothing"
            two = lines[row] if row < len(lines) else "nothing"
            if one != two:
                yield f"{name}, line {row + 1}: {one!r} is written, {two!r} computed"
                break


def sealed(page: str) -> str:
    """The page with the SHA-256 of all that stands before it, by which a change is seen."""
    return f"{page}{SEAL}{hashlib.sha256(page.encode()).hexdigest()} -->\n"


def _unlike_page(results: Row, folder: Path) -> Iterator[str]:
    page = folder / "report.html"
    if not page.is_file():
        return
    text = page.read_text(encoding="utf-8")
    if results["sha256"] not in text:
        yield "report.html: it was written of other results"
    body, seal, told = text.rpartition(SEAL)
    if not seal or told.split()[:1] != [hashlib.sha256(body.encode()).hexdigest()]:
        yield "report.html: changed since it was written"
