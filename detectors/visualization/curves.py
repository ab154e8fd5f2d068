"""Reads the curves of a run from its tables, and draws them; draws a test of learning rates."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detectors.files import whole_file

Rows = Sequence[Mapping[str, float]]

SCORES = ("AP", "AP50", "AP75")
DOTS = 40  # points up to which each has a dot


class Curves(NamedTuple):
    """What was logged while a run went on; cells that are empty are left out of their row."""

    steps: Rows  # each with "step", the number of optimiser steps made
    epochs: Rows  # at the end of each: "step" likewise and "epoch", from 0 on


def read_curves(folder: Path) -> Curves:
    """From `steps.csv`, every logged step, and `metrics.csv`, every epoch, where they are there.

    Raises:
        ValueError: one of them holds anything but numbers.
    """
    logged = _rows(folder / "steps.csv")
    steps = [{**row, "step": row["step"] + 1} for row in logged if "step" in row]
    epochs = _rows(folder / "metrics.csv") or [row for row in steps if _ends(row)]
    return Curves(steps or epochs, epochs)


def _ends(row: Mapping[str, float]) -> bool:
    """Whether a row of `steps.csv` was logged at the end of an epoch."""
    return "epoch" in row and ("train/loss" in row or any(n.startswith("val/") for n in row))


def _rows(file: Path) -> list[dict[str, float]]:
    """Of a table: what is filled in each row. A line that a kill has cut off is left out."""
    if not file.is_file():
        return []
    text = file.read_text(encoding="utf-8")
    whole = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    try:
        return [
            {name: float(value) for name, value in row.items() if value}
            for row in csv.DictReader(whole)
        ]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file} is no table of numbers: {error}") from error


def position(rows: Rows, epochs: Rows) -> tuple[np.ndarray, str]:
    """Where each row lies on the axis of time, and what that axis counts.

    In epochs from 0 on, with fractions; in steps where no epoch has ended.
    """
    steps = np.array([row["step"] for row in rows])
    ends = [(row["step"], row["epoch"] + 1) for row in epochs if {"step", "epoch"} <= row.keys()]
    if not ends or ends[-1][0] <= 0:
        return steps, "step"
    known_steps, known_epochs = np.array([(0.0, 0.0), *ends]).T
    rate = known_epochs[-1] / known_steps[-1]
    later = known_epochs[-1] + (steps - known_steps[-1]) * rate
    after = steps > known_steps[-1]
    return np.where(after, later, np.interp(steps, known_steps, known_epochs)), "epoch"


def losses(rows: Rows) -> list[str]:
    """Names of the columns, the total first; of a loss logged by step and by epoch, by step."""
    names = dict.fromkeys(n for row in rows for n in row if n.startswith("train/"))
    every = [name for name in names if name != "train/lr"]
    by_step = [name for name in every if name.endswith("_step")]
    return sorted(by_step or every, key=lambda name: not name.startswith("train/loss"))


def line(axes: Any, rows: Rows, epochs: Rows, column: str, **look: Any) -> None:
    """Draw a column over time, which begins at 0, with a dot for each point where these are few."""
    filled = [row for row in rows if column in row and "step" in row]
    places, unit = position(filled, epochs)
    mark = "o" if len(filled) < DOTS else ""
    axes.plot(places, [row[column] for row in filled], marker=mark, markersize=2.5, **look)
    _from_zero(axes)
    axes.set_xlabel(unit)


def score(axes: Any, epochs: Rows, column: str, **look: Any) -> None:
    """Draw a score at the end of each epoch; a point on the frame, at 0 or at 1, is seen whole.

    Nothing is drawn where it is never defined.
    """
    rows = [row for row in epochs if row.get(column, -1.0) >= 0]
    if not rows:
        return
    mark = "o" if len(rows) < DOTS else ""
    places = [row["epoch"] + 1 for row in rows]
    values = [row[column] for row in rows]
    axes.plot(places, values, marker=mark, markersize=3, clip_on=False, **look)
    axes.set_ylim(0, 1)
    _from_zero(axes)
    axes.set_xlabel("epoch")


def _from_zero(axes: Any) -> None:
    """Let the axis of time begin at 0 and hold all that is drawn so far."""
    ends = [float(np.max(drawn.get_xdata())) for drawn in axes.lines if len(drawn.get_xdata())]
    axes.set_xlim(0, 1.03 * max(ends, default=1.0) or 1.0)


def draw(folder: str | Path, png: str | Path) -> None:
    """Draw every loss that a run has logged in its folder, and its validation AP."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps, epochs = read_curves(Path(folder))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for name in losses(steps):
        total = name.startswith("train/loss")
        look = {"color": "black", "linewidth": 2} if total else {"linewidth": 1.2}
        line(left, steps, epochs, name, label=short(name), **look)
    for name in SCORES:
        score(right, epochs, f"val/{name}", label=name)
    left.set(title="training loss", ylim=(0, None))
    right.set(title="validation", xlabel="epoch", ylim=(0, 1))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    with whole_file(png, "wb") as file:
        figure.savefig(file, dpi=120, format="png")
    pyplot.close(figure)


def short(column: str) -> str:
    """What a column of losses is called in a legend: "box" of "train/box_step"."""
    return column.partition("/")[2].removesuffix("_step")


def rate_curve(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    marks: Mapping[str, float],
    png: str | Path,
) -> None:
    """Draws the loss over the learning rate, whose axis is logarithmic.

    Args:
        rates: rising.
        losses: of each rate; those that are not finite are left out.
        smoothed: the same, smoothed; the upper edge is a little above its first value.
        marks: learning rates that get a vertical line, by their names in the legend.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    axes.plot(rates, losses, color="0.75", linewidth=1, label="loss")
    axes.plot(rates, smoothed, color="black", linewidth=2, label="smoothed")
    for number, (name, rate) in enumerate(marks.items()):
        axes.axvline(rate, color=f"C{number}", linestyle="--", label=f"{name}: {rate:.2g}")
    low, first = np.nanmin(smoothed), smoothed[0]
    edge = 0.1 * (first - low) or 0.1 * abs(first) or 1.0
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.set(ylim=(low - edge, first + 3 * edge))
    axes.legend()
    with whole_file(png, "wb") as file:
        figure.savefig(file, dpi=120, format="png")
    pyplot.close(figure)
