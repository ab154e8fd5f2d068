"""Compares finished runs that no study has planned: groups them by words, pairs them by seed."""

import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detectors.config.paths import key
from detectors.studies import claims
from detectors.studies.decimals import many
from detectors.studies.design import Cell, read_study
from detectors.studies.evidence import gathered, keep
from detectors.studies.keys import COSMETIC
from detectors.studies.measured import NEEDED, read_json
from detectors.studies.store import Run

OF_STUDY = ("seed", "select", "split", "ckpt_path")  # what a study says in keys of its own
PLAIN = "plain"  # the variant that has only the words of all


class Finished(NamedTuple):
    """A run folder and what its words say."""

    folder: Path
    record: Mapping[str, Any]  # run.json
    words: tuple[str, ...]  # without the seed and what changes no number


class Group(NamedTuple):
    """Runs that are to be compared."""

    file: dict[str, Any]  # of a study, as `read_study` takes it
    runs: dict[Cell, Run]


def compare(
    runs: Sequence[str | Path], folder: Path | None = None, question: str = "", **keys: Any
) -> dict[str, Any]:
    """What finished runs show, as `analyse` says it.

    Args:
        runs: run folders, or folders with such below them, as of a sweep. The words of the first
            are the baseline.
        folder: of a study, in which all is kept that it can be reported and verified from; None:
            nothing is written.
        question: that heads the report.
        keys: of a study's file, "metric" for one.

    Raises:
        ValueError: there are no two variants, or two runs are the same; names them.
    """
    from detectors.studies.analysis import analyse  # scipy, which grouping does not need

    group = grouped(runs, question=question or None, **keys)
    study = read_study(group.file)
    if folder is None:
        return analyse(study, *_sorted(group))
    keep(folder, group.file, group.runs, {})
    return analyse(study, *gathered(folder))


def _sorted(group: Group) -> tuple[dict[str, dict[int, Path]], dict[str, dict[int, str]]]:
    """Run folders and reasons of those that have no number, as `gathered` gives them."""
    runs: dict[str, dict[int, Path]] = {}
    failed: dict[str, dict[int, str]] = {}
    for cell, run in group.runs.items():
        if run.state == "done":
            runs.setdefault(cell.variant, {})[cell.seed] = run.folder
        else:
            told = ": ".join(filter(None, (run.state, run.reason)))
            failed.setdefault(cell.variant, {})[cell.seed] = told
    return runs, failed


def grouped(runs: Sequence[str | Path], **keys: Any) -> Group:
    """The runs below the folders by variant and seed, and a study that describes them.

    Raises:
        ValueError: as `compare`.
    """
    found = [run for place in runs for run in _found(Path(place))]
    variants = list(dict.fromkeys(run.words for run in found))
    if len(variants) < 2:
        said = " ".join(variants[0]) if variants else ""
        raise ValueError(
            f"runs=[{','.join(map(str, runs))}]: found {many(len(found), 'run')} of "
            f"{many(len(variants), 'variant')} {said and f'({said}) '}in run.json files, "
            "expected two variants or more: name further folders"
        )
    base = [word for word in variants[0] if all(word in words for words in variants)]
    own = {words: [word for word in words if word not in base] for words in variants}
    names = {words: " ".join(rest) or PLAIN for words, rest in own.items()}
    file = {
        "name": "compare",
        "base": base,
        "variants": {names[words]: rest for words, rest in own.items()},
        "seeds": sorted({run.record["seed"] for run in found}),
        "split": _one([run.record for run in found], "split"),
        **keys,
    }
    return Group(file, _cells(found, names))


def _cells(found: Sequence[Finished], names: Mapping[tuple[str, ...], str]) -> dict[Cell, Run]:
    cells: dict[Cell, Run] = {}
    for run in found:
        cell = Cell(names[run.words], run.record["seed"], run.words, str(run.record["key"]))
        _check_single(cell, run, cells)
        cells[cell] = _run(run)
    return cells


def _found(place: Path) -> Iterator[Finished]:
    """Runs in a folder and below it, numbers in names by their value."""
    files = sorted(place.rglob("run.json"), key=lambda file: _natural(str(file)))
    if not files:
        raise ValueError(
            f"runs: {place} has no run.json in it or below, which every run of `detectors train` "
            "writes: name the folder of a run or of a sweep"
        )
    for file in files:
        record = read_json(file)
        words = (word for word in record["words"] if not _unscientific(word))
        yield Finished(file.parent, record, tuple(sorted(words)))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part or -1), text) for text, part in re.findall(r"(\D*)(\d*)", name)]


def _unscientific(word: str) -> bool:
    place = key(word).lstrip("+~")
    return place in OF_STUDY or any(place == c or place.startswith(f"{c}.") for c in COSMETIC)


def _one(records: Sequence[Mapping[str, Any]], name: str) -> Any:
    """What all records agree in; the contract says more where a pair does not."""
    values = list(dict.fromkeys(record[name] for record in records))
    if len(values) > 1:
        raise ValueError(
            f"runs: {name} is {' and '.join(map(str, values))} in different runs, which measure "
            "different things: compare those of one kind"
        )
    return values[0]


def _check_single(cell: Cell, run: Finished, cells: Mapping[Cell, Run]) -> None:
    for other, there in cells.items():
        if (other.variant, other.seed) == (cell.variant, cell.seed):
            raise ValueError(
                f"runs: {there.folder} and {run.folder} are both {cell.variant} with seed "
                f"{cell.seed}: leave one out"
            )


def _run(run: Finished) -> Run:
    """As the store has it; one that only debugs, or has not what it found, counts as failed."""
    record, folder = run.record, run.folder.resolve()
    state, reason = record["state"], record.get("reason") or ""
    here = record.get("host") == socket.gethostname()
    if state == "running" and here and not claims.living(record["host"], int(record["pid"])):
        state, reason = "lost", "its process is gone: go on with it by ckpt_path=last"
    if state == "done" and record.get("debug"):
        state, reason = "failed", f"debug={record['debug']}, which is no result"
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if state == "done" and missing:
        state, reason = "failed", f"it has no {missing[0]}"
    return Run(str(record["key"]), state, reason, folder, record)


def sweep_told(folder: Path) -> str:
    """The table of a sweep, and the command that writes its report; empty where it has no runs."""
    from detectors.studies.tables import markdown

    if not any(folder.rglob("run.json")):
        return ""
    again = f"detectors study compare 'runs=[{folder}]'"
    try:
        table = markdown(compare([folder]))
    except (KeyError, OSError, ValueError) as error:
        return f"No table of this sweep: {error}"
    return f"The runs of this sweep, compared; `{again}` writes a report of them:\n\n{table}"
