"""Writes the report of a study: one page of HTML, its tables and its results."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from detectors.files import whole_file
from detectors.studies import tables
from detectors.studies.decimals import ends, fixed
from detectors.studies.report import figures, thumbnails
from detectors.studies.verify import sealed
from detectors.visualization.pages import rendered
from detectors.visualization.svg import OF_PAGE, SERIES

Row = Mapping[str, Any]
NONE = "\u2013"  # a dash
PAGE = Path(__file__).with_name("page.html")
COMPARED = ("AP50", "AP75", "APs", "APm", "APl", "AR100")
TRADES = (("latency_ms", "latency, ms a picture", 1.0), ("flops", "operations, G a picture", 1e9))


def write(results: Row, folder: Path) -> Path:
    """Write results.json, table.md, table.csv, table.tex and report.html; the last is returned.

    Args:
        results: of `analyse`.
        folder: of the study, with its `runs` and `study.json`.
    """
    with whole_file(folder / "results.json") as file:
        json.dump(results, file, indent=1)
        file.write("\n")
    tables.write(results, folder)
    text = page(results, folder)
    with whole_file(folder / "report.html") as file:
        file.write(sealed(text))
    return folder / "report.html"


def page(results: Row, folder: Path) -> str:
    """The report as one HTML file that needs no other."""
    tints = figures.colours(results)
    primary = [r for r in results["comparisons"] if r["metric"] == results["study"]["metric"]]
    values = {
        "results": results,
        "study": results["study"],
        "tints": {name: OF_PAGE[tint] for name, tint in tints.items()},
        "primary": primary,
        "claim": "new" if results["study"]["claim"] == "new_pictures" else "these",
        "forest": _forest(results, primary, tints),
        "effects": _effects(results),
        "matrix": _matrix(results),
        "trades": _trades(results),
        "curves": figures.curves(results),
        "classes": _classes(results),
        "errors": figures.errors(results),
        "secondary": _secondary(results),
        "head": tables.titles(results),
        "cells": list(tables.cells(results)),
        "notes": tables.notes(results),
        "shown": thumbnails.shown(results, folder),
        "threshold": thumbnails.THRESHOLD,
        "file": _file(folder),
    }
    return rendered(PAGE, values, FILTERS)


def _forest(results: Row, primary: list[Row], tints: Mapping[str, str]) -> str:
    rows = [{**r, "label": r["variant"], "colour": tints[r["variant"]]} for r in primary]
    return figures.forest(rows, results["study"]["metric"], results["study"]["baseline"])


def _effects(results: Row) -> str:
    mains = results["effects"]["main"]
    rows = [{**row, "label": row["name"], "colour": SERIES[1]} for row in mains]
    return figures.forest(rows, results["study"]["metric"], "off", "effects") if rows else ""


def _matrix(results: Row) -> dict[str, Any]:
    """Names of the switches, and the row of each pair of them; empty where none is measured."""
    pairs = {tuple(row["factors"]): row for row in results["effects"]["pairs"]}
    names = list(dict.fromkeys(name for pair in pairs for name in pair))
    single = len(pairs) == len(results["effects"]["pairs"])
    return {"names": names, "pairs": pairs, "single": single} if pairs else {}


def _trades(results: Row) -> list[str]:
    if results["study"]["design"] == "pairs":
        return []  # a trade between what was measured on other data is none
    known = [
        (cost, title, unit)
        for cost, title, unit in TRADES
        if sum(bool(v["costs"][cost]) for v in results["variants"]) > 1
    ]
    return [figures.trade(results, *one) for one in known]


def _classes(results: Row) -> list[tuple[str, str]]:
    names = dict.fromkeys(row["variant"] for row in results["classes"])
    drawn = [(name, figures.classes(results, name)) for name in names]
    return [(name, figure) for name, figure in drawn if figure]


def _secondary(results: Row) -> dict[str, dict[str, Row]]:
    """Differences in the other metrics, by variant and metric."""
    rows = [r for r in results["comparisons"] if r["metric"] in COMPARED and r["mean"] is not None]
    return {
        name: {row["metric"]: row for row in rows if row["variant"] == name}
        for name in dict.fromkeys(row["variant"] for row in rows)
    }


def _file(folder: Path) -> str:
    """The study as YAML, under which it can be run again."""
    node = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    return "# @package study\n" + yaml.safe_dump(node, sort_keys=False, allow_unicode=True)


def _ends(interval: Row | None) -> str:
    if interval is None or interval["low"] is None:
        return ""
    return ends(interval["low"], interval["high"])


def _signed(value: float | None) -> str:
    return NONE if value is None else fixed(value, sign=True)


def _number(value: float | None) -> str:
    return NONE if value is None else fixed(value)


def _p(value: float | None) -> str:
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


FILTERS: Mapping[str, Callable[..., Any]] = {
    "ends": _ends,
    "signed": _signed,
    "number": _number,
    "p": _p,
}
