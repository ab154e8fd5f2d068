"""Writes what a search has found, with the warning that it is no comparison."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from detectors.config.paths import naming
from detectors.files import whole_file
from detectors.studies.search.space import Search
from detectors.studies.search.trials import Ended, luck
from detectors.studies.store import Store

FORMAT = 1
SEEDS = 5  # of the study that compares what was found
ORDER = ("complete", "pruned", "open", "failed")
FILES = ("results.json", "table.md")


def results(
    search: Search,
    trials: Sequence[Ended],
    store: Store,
    test: bool,
    folders: Sequence[str] = (),
) -> dict[str, Any]:
    """All that the report says, metrics in points.

    Args:
        test: whether the data have a test split.
        folders: of configs of the user's, absolute.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    judged = len([trial for trial in trials if trial.state in ("complete", "pruned")])
    best = max(complete, key=lambda trial: trial.value or 0.0, default=None)
    return {
        "format": FORMAT,
        "search": {"name": search.name, "trials": search.trials, **search.identity()},
        "trials": [_row(search, trial, store) for trial in trials],
        "best": None if best is None else _best(search, best, folders),
        "warning": _warning(search, judged) if best else None,
        "luck": luck(judged) if best else None,
        "test": test,
    }


def _row(search: Search, trial: Ended, store: Store) -> dict[str, Any]:
    changed = store.outdated(store.run(trial.key).record) if trial.key else []
    return {
        "number": trial.number,
        "state": trial.state,
        "value": None if trial.value is None else 100 * trial.value,
        "epochs": {epoch: 100 * value for epoch, value in trial.epochs.items()},
        "values": dict(trial.values),
        "words": list(search.words(trial.values)) if len(trial.values) == len(search.space) else [],
        "key": trial.key,
        "reason": trial.reason,
        "changed": changed,
    }


def _best(search: Search, trial: Ended, folders: Sequence[str]) -> dict[str, Any]:
    words = search.words(trial.values)
    return {
        "number": trial.number,
        "value": 100 * (trial.value or 0.0),
        "words": list(words),
        "command": shlex.join(["detectors", "train", *words, *naming(folders)]),
    }


def _warning(search: Search, count: int) -> str:
    several = (
        f"The best of {count} trials that differ by chance alone lies {luck(count):.1f} standard "
        "deviations above their mean"
        if count > 1
        else "There is one trial alone"
    )
    return (
        f"This is no comparison. {several}. It was chosen on the pictures that measured it, with "
        f"one seed ({search.seed}), so its {search.metric} is likely too high, by an unknown "
        "amount, and nothing here says that it is better than the base."
    )


def advice(
    found: Mapping[str, Any], search: Search, file: Path, folders: Sequence[str]
) -> list[str]:
    """How to compare what was found honestly, by the study in a file of the search's folder."""
    split = (
        "on the test split, which the search has not seen"
        if found["test"]
        else "but these data have no test split, which it needs: give data.test, or another data "
        "set with one; without it all its runs are refused"
    )
    words = ["plan", f"study={file.stem}", *naming([str(file.parents[1]), *folders])]
    command = shlex.join(["detectors", "study", *words])
    return [
        f"To compare it: a study of base and found words with seeds {_seeds(search)[0]} to "
        f"{_seeds(search)[-1]}, which the search has not used, {split}:",
        "",
        f"    {command}",
    ]


def _seeds(search: Search) -> list[int]:
    return [search.seed + number for number in range(1, SEEDS + 1)]


def study(found: Mapping[str, Any], search: Search) -> dict[str, Any]:
    """The file of a study that compares what was found with the base."""
    values = next(
        row["values"] for row in found["trials"] if row["number"] == found["best"]["number"]
    )
    return {
        "question": f"Are the words that the search {search.name} has found better than its base?",
        "base": list(search.base),
        "variants": {"base": [], "found": [f"{name}={value}" for name, value in values.items()]},
        "seeds": _seeds(search),
        "metric": search.metric,
        "select": search.select,
        "split": "test",
    }


def table(found: Mapping[str, Any], search: Search, file: Path, folders: Sequence[str] = ()) -> str:
    """The report as Markdown; for a terminal as well as for a page.

    Args:
        file: the study that compares what was found.
        folders: of configs of the user's, absolute.
    """
    best, lines = found["best"], list[str]()
    if best is None:
        lines.append(f"{search.name}: no trial has been completed yet.")
    else:
        lines += [
            f"{search.name}: the highest {search.metric} on the validation pictures is "
            f"{best['value']:.1f}, of trial {best['number']}. To repeat it:",
            "",
            f"    {best['command']}",
            "",
            found["warning"],
            "",
            *advice(found, search, file, folders),
        ]
    rows = sorted(found["trials"], key=_place)
    head = ["trial", "state", search.metric, "epochs", *search.space]
    cells = [head, *(_cells(row, search) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    rule = ["-" * width for width in widths]
    lines += ["", *(_line(row, widths) for row in (head, rule, *cells[1:])), ""]
    lines += [f"- trial {row['number']}: {row['reason']}" for row in rows if row["reason"]]
    lines += [
        f"- trial {row['number']}: its run is of other code: {row['changed'][0]} has changed since"
        for row in rows
        if row["changed"]
    ]
    return "\n".join(lines).rstrip() + "\n"


def _place(row: Mapping[str, Any]) -> tuple[int, float, int]:
    """Complete trials first, the best of each kind before the others."""
    value = row["value"] if row["value"] is not None else -1.0
    return ORDER.index(row["state"]), -value, row["number"]


def _cells(row: Mapping[str, Any], search: Search) -> list[str]:
    value = "-" if row["value"] is None else f"{row['value']:.1f}"
    epochs = str(max(row["epochs"], default="-"))
    varied = (row["values"].get(name, "-") for name in search.space)
    shown = [f"{one:.4g}" if isinstance(one, float) else str(one) for one in varied]
    return [str(row["number"]), row["state"], value, epochs, *shown]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
    return f"| {' | '.join(padded)} |"


def write(
    found: Mapping[str, Any], search: Search, folder: Path, folders: Sequence[str] = ()
) -> str:
    """Write results.json, table.md and the study that compares; the table is returned."""
    file = folder / "conf" / "study" / f"{search.name}_found.yaml"
    text = table(found, search, file, folders)
    contents = {folder / "results.json": json.dumps(found, indent=1) + "\n"}
    contents[folder / "table.md"] = text
    if found["best"]:
        file.parent.mkdir(parents=True, exist_ok=True)
        told = yaml.safe_dump(study(found, search), sort_keys=False, allow_unicode=True)
        contents[file] = f"# @package study\n{told}"
    for place, content in contents.items():
        with whole_file(place) as lines:
            lines.write(content)
    return text
