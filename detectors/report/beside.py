"""Makes the page that shows several runs side by side, and says nothing about who is better."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectors.config.references import leaves
from detectors.report import breakdown, figures
from detectors.report.page import NONE, SCRIPT, STYLE, costs, facts, name_of, points, trouble
from detectors.report.reading import Evaluated, RunFolder
from detectors.studies.errors import KINDS, error_costs
from detectors.visualization.pages import rendered

PAGE = Path(__file__).with_name("beside.html")
UNTOLD = ("run_dir", "default_root_dir", "dirpath", "folder")  # last names of keys of folders
PARTS = {
    "object": breakdown.by_size,
    "width : height": breakdown.by_shape,
    "objects in the picture": breakdown.by_crowding,
}

Row = tuple[str, list[str]]
Told = Callable[[RunFolder], Mapping[str, str]]


def page(runs: Sequence[RunFolder]) -> str:
    """The same tables of all runs as HTML."""
    names = names_of(runs)
    differ = len({_pictures(run) for run in runs if run.evaluated}) > 1
    warning = "These runs were measured on different pictures." if differ else ""
    tables = [
        ("Scores", list(_scores(runs)), warning),
        ("Classes, AP", list(_classes(runs)), ""),
        ("Kinds of errors, AP50 points", list(_errors(runs)), "As TIDE counts them."),
        ("AP by size, shape and crowding", list(_parts(runs)), ""),
        ("Cost", list(_costs(runs)), ""),
        ("What differs in the configs", list(_differences(runs)), ""),
        ("What they were", list(_named(runs, lambda run: dict(facts(run)))), ""),
    ]
    values = {
        "own": STYLE.read_text(encoding="utf-8"),
        "script": SCRIPT.read_text(encoding="utf-8"),
        "runs": [(n, _told(run)) for n, run in zip(names, runs, strict=True)],
        "validation": figures.validation(list(zip(names, runs, strict=True))),
        "tables": [table for table in tables if table[1]],
    }
    return rendered(PAGE, values, {})


def names_of(runs: Sequence[RunFolder]) -> list[str]:
    """A name for each, no two alike: with its folder, and then its number, where that is needed."""
    names = [name_of(run) for run in runs]
    placed = [
        name if names.count(name) == 1 else f"{name} ({run.folder.resolve().name})"
        for name, run in zip(names, runs, strict=True)
    ]
    return [
        name if placed.count(name) == 1 else f"{name} {number}"
        for number, name in enumerate(placed, 1)
    ]


def _told(run: RunFolder) -> str:
    return trouble(run) or str(run.folder.resolve())


def _pictures(run: RunFolder) -> tuple[bytes, ...]:
    """What tells the pictures from others: their ids and what is in them."""
    assert run.evaluated is not None
    truth = run.evaluated.truth
    return tuple(column.tobytes() for column in (truth.image_ids, truth.labels, truth.boxes))


def _named(
    runs: Sequence[RunFolder], of: Callable[[RunFolder], Mapping[str, str]]
) -> Iterator[Row]:
    """A row for every name that any of them has, in the order in which they come."""
    found = [of(run) for run in runs]
    for name in dict.fromkeys(name for one in found for name in one):
        yield name, [one.get(name) or NONE for one in found]


def _scores(runs: Sequence[RunFolder]) -> Iterator[Row]:
    def of(run: RunFolder) -> dict[str, str]:
        return {n: points(value) for n, value in run.metrics.items() if not n.startswith("AP/")}

    yield from _named(runs, of)


def _classes(runs: Sequence[RunFolder]) -> Iterator[Row]:
    def of(run: RunFolder) -> dict[str, str]:
        own = {n: value for n, value in run.metrics.items() if n.startswith("AP/")}
        return {n.removeprefix("AP/"): points(value) for n, value in own.items()}

    yield from _named(runs, of)


def _errors(runs: Sequence[RunFolder]) -> Iterator[Row]:
    def of(found: Evaluated) -> dict[str, str]:
        lost = error_costs(found.truth, found.found, found.matches)
        return {KINDS[kind]: points(float(value[0])) for kind, value in lost.items()}

    yield from _named(runs, lambda run: of(run.evaluated) if run.evaluated else {})


def _parts(runs: Sequence[RunFolder]) -> Iterator[Row]:
    def of(found: Evaluated) -> dict[str, str]:
        rows = ((title, row) for title, parts in PARTS.items() for row in parts(found))
        return {f"{title}: {row.name}": points(row.ap) for title, row in rows}

    yield from _named(runs, lambda run: of(run.evaluated) if run.evaluated else {})


def _costs(runs: Sequence[RunFolder]) -> Iterator[Row]:
    def of(run: RunFolder) -> dict[str, str]:
        latency = run.record.get("latency") or {}
        told = {"latency, ms": f"{latency['median_ms']:.1f}"} if latency else {}
        return {name: value for name, value in costs(run.record) if value} | told

    yield from _named(runs, of)


def _differences(runs: Sequence[RunFolder]) -> Iterator[Row]:
    """Keys whose values are not the same in all, but for the names of folders."""
    found: list[dict[str, Any]] = [dict(leaves(dict(run.config))) for run in runs]
    for key in dict.fromkeys(key for one in found for key in one):
        values = [str(one[key]) if key in one else NONE for one in found]
        if len(set(values)) > 1 and key.rpartition(".")[2] not in UNTOLD:
            yield key, values
