"""Draws the two figures of an evaluation that trackers get, as pictures."""

import io

import matplotlib
import numpy as np
from PIL import Image

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.figure import Figure

from detectors.average_precision.weighted import RECALLS
from detectors.report.breakdown import (
    best_threshold,
    confusion,
    mean_curves,
    precision_curves,
)
from detectors.report.figures import MANY
from detectors.report.reading import Evaluated
from detectors.visualization.svg import label


def stills(evaluated: Evaluated) -> dict[str, Image.Image]:
    """Precision over recall and the matrix of confusions, by the names that trackers show."""
    return {
        "measured/precision_recall": _precision_recall(evaluated),
        "measured/confusion": _confusion(evaluated),
    }


def _precision_recall(evaluated: Evaluated) -> Image.Image:
    figure, axes = pyplot.subplots(figsize=(6, 5), layout="constrained")
    classes = precision_curves(evaluated)
    for name, curve in classes.items():
        shown = label(name) if len(classes) <= MANY else None
        axes.plot(RECALLS, curve, linewidth=0.9, alpha=0.7, label=shown)
    for name, curve in list(mean_curves(evaluated).items())[:1]:
        axes.plot(RECALLS, curve, color="black", linewidth=2, label=f"mean, {name}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    return _picture(figure)


def _confusion(evaluated: Evaluated) -> Image.Image:
    """Shares of each row, with counts where there is room for them."""
    threshold = best_threshold(evaluated).score
    names, counts, totals, _ = confusion(evaluated, threshold)
    shares = counts / np.maximum(totals[:, None], 1)
    side = 3 + 0.45 * len(counts)
    figure, axes = pyplot.subplots(figsize=(side, side), layout="constrained")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            ink = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=ink, fontsize=8)
    ends = [*map(label, names), "nothing"]
    axes.set_xticks(range(len(counts)), ends, rotation=90)
    axes.set_yticks(range(len(counts)), ends)
    axes.set(xlabel="found as", ylabel="there was")
    axes.set_title(f"IoU 0.50, score {threshold:.2f} or more", fontsize=9)
    return _picture(figure)


def _picture(figure: Figure) -> Image.Image:
    with io.BytesIO() as file:
        figure.savefig(file, format="png", dpi=100)
        pyplot.close(figure)
        return Image.open(file).convert("RGB")
