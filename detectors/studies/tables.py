"""Writes the table of a study as Markdown, CSV and LaTeX.

Every mean stands with the number of its runs and its interval. Nothing is set in bold.
"""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detectors.files import whole_file
from detectors.studies.decimals import ends, fixed
from detectors.studies.measured import TIDE

Row = Mapping[str, Any]
METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
FILES = ("table.md", "table.csv", "table.tex")
NONE = "-"
_OF_ONE = {"flops": "operations", "latency": "latency"}  # of a picture, by their names in run.json


class Cost(NamedTuple):
    """How a cost of a variant is shown."""

    title: str
    unit: float
    digits: int


COSTS: Mapping[str, Cost] = {
    "parameters": Cost("parameters, M", 1e6, 2),
    "flops": Cost("operations, G", 1e9, 2),
    "images_seen": Cost("images seen", 1, 0),
    "train_seconds": Cost("training, s", 1, 0),
    "memory_process": Cost("memory, MB", 1e6, 0),
    "memory_device": Cost("memory of the device, MB", 1e6, 0),
    "latency_ms": Cost("latency, ms", 1, 1),
}


def write(results: Row, folder: Path) -> None:
    """Write `table.md`, `table.csv` and `table.tex` into the folder."""
    for name, text in texts(results).items():
        with whole_file(folder / name) as file:
            file.write(text)


def texts(results: Row) -> dict[str, str]:
    """The three files by name."""
    return dict(
        zip(FILES, (markdown(results), comma_separated(results), latex(results)), strict=True)
    )


def markdown(results: Row) -> str:
    """Verdicts, then the table; for a terminal as well as for a page."""
    lines = _table(titles(results), list(cells(results)))
    return "\n".join([*verdicts(results), "", *lines, "", *notes(results), *_errors(results), ""])


def _errors(results: Row) -> Iterator[str]:
    """What each kind of error costs more than with the baseline: a table; nothing without runs."""
    claim = "new" if results["study"]["claim"] == "new_pictures" else "these"
    kinds = list(dict.fromkeys(row["metric"] for row in results["errors"]))
    if not kinds:
        return
    found = {(row["variant"], row["metric"]): row for row in results["errors"]}
    names = dict.fromkeys(row["variant"] for row in results["errors"])
    body = [[n, *(difference_text(found[n, kind], claim) for kind in kinds)] for n in names]
    head = ["AP50 lost to", *(kind.removeprefix(TIDE) for kind in kinds)]
    yield ""
    yield from _table(head, body)
    yield ""
    yield f"Kinds of errors are those of TIDE; differences from {results['study']['baseline']}."


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(3, *(len(row[i]) for row in (head, *rows))) for i in range(len(head))]
    rule = [f"{'-' * (width - 1)}{'-' if i == 0 else ':'}" for i, width in enumerate(widths)]
    return [_line(row, widths) for row in (head, rule, *rows)]


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = (
        cell.ljust(width) if i == 0 else cell.rjust(width)
        for i, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return f"| {' | '.join(padded)} |"


def verdicts(results: Row) -> list[str]:
    """A line for each variant, "mosaic: better by ..."; of effects too, where there are any."""
    metric = results["study"]["metric"]
    found = [
        f"{row['variant']}: {row['verdict']['words']}"
        for row in results["comparisons"]
        if row["metric"] == metric
    ]
    mains = [f"effect of {row['name']}: {row['verdict']['words']}" for row in main_effects(results)]
    return [f"- {line}" for line in (*mains, *found)]


def main_effects(results: Row) -> Sequence[Row]:
    """Of the switches, none where the design measures none."""
    return results["effects"]["main"]


def notes(results: Row) -> list[str]:
    """What the numbers of the table mean, and what is missing from it."""
    study = results["study"]
    claim = "new pictures" if study["claim"] == "new_pictures" else "these pictures"
    lines = [
        f"Mean over seeds with its 95 % interval ({claim}), in AP points; n: runs. Measured on "
        f"{study['pictures']} pictures ({study['split']}). Differences from {study['baseline']} "
        "are paired by seed; those in [ ] are not comparable.",
    ]
    if files := results["contract"].get("code"):
        lines.append(f"The runs are not all of the same code: {', '.join(files)} were changed.")
    if files := results["contract"]["accepted"]:
        lines.append(f"Changed since some of the runs, and accepted: {', '.join(files)}.")
    if (ratio := study["scatter_ratio"]) is not None:
        times = ratio if isinstance(ratio, str) else fixed(ratio)
        lines.append(
            "One variance of all variants (pooled), of which the noisiest scatters over seeds "
            f"{times} times as much as the quietest; in 5 % of studies of equal ones it is more "
            f"than {fixed(study['scatter_ratio_by_chance'])}."
        )
    if single := [v["name"] for v in results["variants"] if v["n"] == 1]:
        lines.append(f"One run, therefore no interval: {', '.join(single)}.")
    return [*lines, *(line for variant in results["variants"] for line in _failures(variant))]


def _failures(variant: Row) -> Iterator[str]:
    """A line for each reason why seeds have no number, or runs lack one of their costs."""
    for why in dict.fromkeys(variant["failed"].values()):
        seeds = [seed for seed, other in variant["failed"].items() if other == why]
        yield f"{variant['name']}, seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)}: {why}"
    for name, reasons in variant.get("unmeasured", {}).items():
        found = (why for why in reasons if "=false" not in why)  # what was not asked is not missed
        yield from (f"{variant['name']}: no {_OF_ONE[name]}: {why}" for why in found)


def titles(results: Row) -> list[str]:
    """Of the columns."""
    metric = results["study"]["metric"]
    costs = [COSTS[name].title for name in costs_known(results)]
    first, *others = shown_metrics(results)
    return ["variant", "n", first, f"difference in {metric}", *others, *costs]


def shown_metrics(results: Row) -> list[str]:
    """The primary metric and the usual ones that are defined."""
    names = dict.fromkeys((results["study"]["metric"], *METRICS))
    found = [v["metrics"].get(name) for v in results["variants"] for name in names]
    defined = [level is not None and level["mean"] is not None for level in found]
    return [n for i, n in enumerate(names) if any(defined[i :: len(names)]) or i == 0]


def costs_known(results: Row) -> list[str]:
    """Costs that some variant has."""
    return [name for name in COSTS if any(v["costs"][name] for v in results["variants"])]


def cells(results: Row) -> Iterator[list[str]]:
    """The rows of the table as text."""
    claim = "new" if results["study"]["claim"] == "new_pictures" else "these"
    primary = {
        row["variant"]: row
        for row in results["comparisons"]
        if row["metric"] == results["study"]["metric"]
    }
    for variant in results["variants"]:
        levels = [variant["metrics"].get(name) for name in shown_metrics(results)]
        first, *others = (level_text(level, claim) for level in levels)
        yield [
            variant["name"],
            str(variant["n"]),
            first,
            difference_text(primary.get(variant["name"]), claim),
            *others,
            *(cost_text(name, variant["costs"][name]) for name in costs_known(results)),
        ]


def level_text(level: Row | None, claim: str) -> str:
    """ "41.2 (39.8 to 42.6)"; of one run the number alone."""
    if level is None or level["mean"] is None:
        return NONE
    return f"{fixed(level['mean'])}{_range(level[claim])}"


def difference_text(row: Row | None, claim: str) -> str:
    """ "+1.2 (0.4 to 2.0)"; in brackets where the two are not comparable."""
    if row is None or row["mean"] is None:
        return NONE
    text = f"{fixed(row['mean'], sign=True)}{_range(row[claim])}"
    return text if row["comparable"] else f"[{text}]"


def _range(interval: Row | None) -> str:
    if interval is None or interval["low"] is None:
        return ""
    return f" ({ends(interval['low'], interval['high'])})"


def cost_text(name: str, cost: Row | None) -> str:
    """The mean in the unit of its column."""
    if cost is None:
        return NONE
    shown = COSTS[name]
    return f"{cost['mean'] / shown.unit:,.{shown.digits}f}"


def comma_separated(results: Row) -> str:
    """Numbers as they are: a row for each variant and metric, and for what errors cost it."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = ("these_low", "these_high", "new_low", "new_high")
    wide = ("wide_low", "wide_high")  # for all comparisons to hold together
    compared = (
        "difference",
        *(f"difference_{end}" for end in (*ends, *wide)),
        *("p", "p_adjusted"),
    )
    writer.writerow(["variant", "metric", "n", "mean", "sd", *ends, *compared, "verdict"])
    every = (*results["comparisons"], *results["errors"])
    found = {(row["variant"], row["metric"]): row for row in every}
    for variant in results["variants"]:
        for metric, level in {**variant["metrics"], **variant["errors"]}.items():
            row = found.get((variant["name"], metric), {})
            own = [level["n"], level["mean"], level["sd"], *_ends(level, "these", "new")]
            ends_of_row = _ends(row, "these", "new", "wide")
            other = [row.get("mean"), *ends_of_row, row.get("p"), row.get("p_adjusted")]
            words = row.get("verdict", {}).get("words", "")
            cells = [variant["name"], metric, *own, *other, words]
            writer.writerow(["" if cell is None else cell for cell in cells])
    return text.getvalue()


def _ends(row: Row, *names: str) -> list[float | None]:
    intervals = [row.get(name) or {} for name in names]
    return [interval.get(end) for interval in intervals for end in ("low", "high")]


def latex(results: Row) -> str:
    """A tabular of booktabs with the columns of the Markdown."""
    head, rows = titles(results), list(cells(results))
    body = [" & ".join(map(escaped, row)) + r" \\" for row in rows]
    comments = [f"% {line}" for line in (*verdicts(results), *notes(results))]
    return "\n".join(
        [
            *comments,
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            " & ".join(map(escaped, head)) + r" \\",
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


_LATEX = {c: rf"\{c}" for c in "&%$#_{}"} | {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def escaped(text: str) -> str:
    """As LaTeX shows it as it is."""
    return "".join(_LATEX.get(letter, letter) for letter in text)
