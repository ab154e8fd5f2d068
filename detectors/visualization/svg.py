"""Draws figures as SVG that takes its colours from the page, light or dark."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

# Colours that stand for those of the page, which the style sheet defines.
INK, MUTED, RULE = "#010203", "#040506", "#070809"
SERIES = ("#0a0b01", "#0a0b02", "#0a0b03", "#0a0b04", "#0a0b05", "#0a0b06", "#0a0b07", "#0a0b08")
OF_PAGE = {INK: "var(--ink)", MUTED: "var(--muted)", RULE: "var(--rule)"} | {
    colour: f"var(--series-{number})" for number, colour in enumerate(SERIES)
}
WIDTH = 7.2  # inches, of a page
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "lines.solid_capstyle": "round",
}


@contextmanager
def canvas(name: str, height: float, columns: int = 1, **options: Any) -> Iterator[Any]:
    """Figure and axes that become SVG in `svg`; a name keeps ids of several figures apart."""
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure, axes = pyplot.subplots(
            1, columns, figsize=(WIDTH, height), layout="constrained", squeeze=False, **options
        )
        try:
            yield figure, axes[0]
        finally:
            pyplot.close(figure)


def svg(figure: Figure, label: str) -> str:
    """The figure as an element of a page, which reads the label to those who cannot see it."""
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    drawn = re.sub(r"<metadata>.*?</metadata>", "", text.getvalue(), flags=re.DOTALL)
    drawn = drawn[drawn.index("<svg") :]
    drawn = re.sub(r'<g id="[^"]*">', "<g>", drawn)
    drawn = re.sub(r"font(-family)?: ?([\d.]+px )?[^;\"]*DejaVu[^;\"]*", _font, drawn)
    for stands, real in OF_PAGE.items():
        drawn = drawn.replace(stands, real)
    head = f'<svg role="img" aria-label="{_attribute(label)}" '
    return re.sub(r'^<svg (.*?)(width="[^"]*" |height="[^"]*" )', rf"{head}\1\2", drawn, count=1)


def label(name: str) -> str:
    """A name as matplotlib writes it: a dollar begins no formula, a low line hides no curve."""
    shown = name.replace("$", r"\$")
    return f" {shown}" if shown.startswith("_") else shown


def _font(match: re.Match[str]) -> str:
    size = (match.group(2) or "").strip()
    return f"font-size: {size}; font-family: inherit" if size else "font-family: inherit"


def _attribute(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
