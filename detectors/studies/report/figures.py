"""Draws the figures of a study's report."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detectors.studies.decimals import fixed
from detectors.studies.measured import TIDE
from detectors.visualization.svg import INK, MUTED, SERIES, canvas, svg

Row = Mapping[str, Any]

MOST = 24  # rows of a figure of classes


def colours(results: Row) -> dict[str, str]:
    """Of each variant; more than there are share. What is not comparable is grey."""
    broken = results["contract"]["broken"]
    return {
        variant["name"]: MUTED if variant["name"] in broken else SERIES[place % len(SERIES)]
        for place, variant in enumerate(results["variants"])
    }


def forest(rows: Sequence[Row], metric: str, baseline: str, name: str = "forest") -> str:
    """Differences from the baseline.

    A thick line for these pictures, a thin one for new ones, a hairline where all comparisons hold
    together, a small dot for each seed.

    Args:
        rows: of `comparisons` or `effects`, each with "label" and "colour".
        metric: of the axis.
        baseline: what is at zero.
        name: of the figure.
    """
    with canvas(name, 0.9 + 0.42 * len(rows)) as (figure, (axes,)):
        axes.axvline(0, color=MUTED, linewidth=1)
        for place, row in enumerate(rows):
            _effect(axes, place, row, row["colour"])
        _rows(axes, [row["label"] for row in rows])
        axes.set_xlabel(f"difference from {baseline}, {metric} in points")
        told = ", ".join(f"{r['label']} {_number(r['mean'])}" for r in rows)
        return svg(figure, f"Differences in {metric} from {baseline}: {told}")


def _effect(axes: Axes, place: float, row: Row, tint: str, dots: bool = True) -> None:
    if row["mean"] is None:
        return
    lines = (("wide", "", 0.7, 0.8), ("these", "", 6, 0.35), ("new", "|", 1.4, 1.0))
    for name, mark, width, alpha in lines:
        interval = row.get(name)
        if interval and interval["low"] is not None:
            ends = [interval["low"], interval["high"]]
            axes.plot(ends, [place, place], f"{mark}-", color=tint, linewidth=width, alpha=alpha)
    if dots:
        count = len(row["per_seed"])
        axes.plot(
            row["per_seed"], [place + 0.25] * count, ".", color=tint, markersize=4.5, alpha=0.6
        )
    axes.plot(row["mean"], place, "o", color=tint, markersize=6, markeredgewidth=0)


def _rows(axes: Axes, labels: Sequence[str]) -> None:
    """One row for each label, the first on top, with a grid along the numbers."""
    axes.set_yticks(range(len(labels)), labels)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_axisbelow(True)


def _number(value: float | None) -> str:
    return "unknown" if value is None else fixed(value, sign=True)


def trade(results: Row, cost: str, title: str, unit: float) -> str:
    """A metric against a cost, with error bars of both and the Pareto set.

    A variant is in the set unless another one costs no more and is resolved to be better. So a pair
    that is not resolved is a tie, and both are shown.
    """
    metric = results["study"]["metric"]
    claim = "new" if results["study"]["claim"] == "new_pictures" else "these"
    points = [
        (v, v["metrics"][metric], v["costs"][cost])
        for v in results["variants"]
        if v["costs"].get(cost) and v["metrics"][metric]["mean"] is not None
    ]
    points.sort(key=lambda point: point[2]["mean"])
    front, tints = pareto(results, cost), colours(results)
    with canvas(cost, 3.4) as (figure, (axes,)):
        for place, (variant, level, spent) in enumerate(points):
            name, within = variant["name"], variant["name"] in front
            _point(axes, level, spent, claim, unit, tints[name], within)
            beside = (7, 5 if place % 2 == 0 else -13)  # neighbours do not cover each other
            told: Any = {"xytext": beside, "textcoords": "offset points", "fontsize": 8.5}
            tint, at = INK if within else MUTED, (spent["mean"] / unit, level["mean"])
            axes.annotate(name, at, color=tint, **told)
        _staircase(axes, [p for p in points if p[0]["name"] in front], unit)
        axes.margins(x=0.25, y=0.12)
        axes.grid()
        axes.set_axisbelow(True)
        axes.set(xlabel=title, ylabel=f"{metric}, points")
        return svg(figure, f"{metric} against {title}; not dominated: {', '.join(front)}")


def _point(
    axes: Axes, level: Row, spent: Row, claim: str, unit: float, tint: str, within: bool
) -> None:
    x, y = spent["mean"] / unit, level["mean"]
    interval = level[claim]
    if interval and interval["low"] is not None:
        axes.plot([x, x], [interval["low"], interval["high"]], color=tint, linewidth=1.3)
    ends = [spent["least"] / unit, spent["most"] / unit]
    axes.plot(ends, [y, y], color=tint, linewidth=1.3)
    fill = tint if within else "none"
    axes.plot(x, y, "o", markersize=7, color=tint, markerfacecolor=fill, markeredgewidth=1.4)


def _staircase(axes: Axes, points: Sequence[tuple], unit: float) -> None:
    """Along the set, from the cheapest on; ties below the line are left out of it."""
    corners: list[tuple[float, float]] = []
    for _, level, spent in sorted(points, key=lambda p: (p[2]["mean"], -p[1]["mean"])):
        if not corners or level["mean"] > corners[-1][1]:
            corners.append((spent["mean"] / unit, level["mean"]))
    if len(corners) > 1:
        x, y = zip(*corners, strict=True)
        axes.plot(x, y, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), zorder=0)


def pareto(results: Row, cost: str) -> list[str]:
    """Variants that no other one is resolved to beat at the same cost or less.

    What is resolved is what the verdicts say about a variant and the baseline, and of two variants
    that one is better and the other worse than the baseline.
    """
    baseline = results["study"]["baseline"]
    kinds = {
        row["variant"]: row["verdict"]["kind"] for row in results["comparisons"] if "verdict" in row
    }
    rank = {"better": 1, "worse": -1}
    place = {
        v["name"]: (rank.get(kinds.get(v["name"], "")), v["costs"][cost])
        for v in results["variants"]
        if v["costs"].get(cost) and v["name"] not in results["contract"]["broken"]
    }
    place |= {baseline: (0, place[baseline][1])} if baseline in place else {}

    def beaten(name: str) -> bool:
        own, spent = place[name]
        return any(
            own is not None and other is not None and other > own and paid["mean"] <= spent["mean"]
            for rival, (other, paid) in place.items()
            if rival != name
        )

    return [name for name in place if not beaten(name)]


def curves(results: Row) -> str:
    """Means over seeds by epoch, and the band of the paired difference from the baseline."""
    metric, rows, tints = results["study"]["metric"], results["curves"], colours(results)
    if not any(row["epochs"] for row in rows):
        return ""
    with canvas("curves", 3.1, columns=2) as (figure, (left, right)):
        right.axhline(0, color=MUTED, linewidth=1)
        for row in rows:
            tint = tints[row["variant"]]
            mark = "o" if len(row["epochs"]) < 15 else ""
            left.plot(
                *(row["epochs"], row["mean"], mark + "-"),
                color=tint,
                label=row["variant"],
                markersize=3,
            )
            band = row["paired_epochs"]
            right.plot(band, row["difference"], color=tint, linewidth=1.4)
            right.fill_between(band, row["low"], row["high"], color=tint, alpha=0.15, linewidth=0)
        for axes in (left, right):
            axes.grid(axis="y")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set_xlabel("epoch")
        left.set_title(f"{metric}, mean over seeds")
        right.set_title("difference, 95 % over seeds")
        _legend(figure, left, len(rows))
        return svg(figure, f"{metric} by epoch, and differences with bands")


def _legend(figure: Figure, axes: Axes, count: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(count, 4))


def classes(results: Row, variant: str) -> str:
    """Differences of every class, the largest on top; of many classes those at both ends."""
    rows = [r for r in results["classes"] if r["variant"] == variant and r["mean"] is not None]
    rows.sort(key=lambda row: -row["mean"])
    if len(rows) > MOST:
        rows = [*rows[: MOST // 2], *rows[-MOST // 2 :]]
    if not rows:
        return ""
    with canvas(f"classes {variant}", 0.7 + 0.26 * len(rows)) as (figure, (axes,)):
        axes.axvline(0, color=MUTED, linewidth=1)
        for place, row in enumerate(rows):
            resolved = row["p_adjusted"] is not None and row["p_adjusted"] < 0.05
            tint = colours(results)[variant] if resolved else MUTED
            _effect(axes, place, row, tint, dots=False)
        _rows(axes, [row["metric"].removeprefix("AP/") for row in rows])
        axes.set_xlabel("difference, AP of the class in points")
        return svg(figure, f"Differences of {variant} by class")


def errors(results: Row) -> str:
    """What each kind of error costs more or less than in the baseline."""
    rows = [row for row in results["errors"] if row["mean"] is not None]
    tints = colours(results)
    kinds, names = (list(dict.fromkeys(row[key] for row in rows)) for key in ("metric", "variant"))
    if not rows:
        return ""
    step = 0.8 / len(names)
    with canvas("errors", 0.9 + len(kinds) * (0.25 + 0.14 * len(names))) as (figure, (axes,)):
        axes.axvline(0, color=MUTED, linewidth=1)
        for row in rows:
            place = kinds.index(row["metric"]) + step * (names.index(row["variant"]) + 0.5) - 0.4
            _effect(axes, place, row, tints[row["variant"]], dots=False)
        for name in names if len(names) > 1 else []:
            axes.plot([], [], "o", color=tints[name], label=name, markersize=5)
        _rows(axes, [kind.removeprefix(TIDE) for kind in kinds])
        axes.set_xlabel("AP50 lost to this kind of error, difference from the baseline in points")
        if len(names) > 1:
            _legend(figure, axes, len(names))
        return svg(figure, "Differences in what kinds of errors cost")
