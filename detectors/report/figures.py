"""Draws the curves of a run's report."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from detectors.average_precision.weighted import RECALLS
from detectors.report.breakdown import LEAST_SCORE, Calibration
from detectors.report.reading import RunFolder
from detectors.visualization.curves import line, losses, score, short
from detectors.visualization.svg import INK, MUTED, SERIES, canvas, svg
from detectors.visualization.svg import label as written

HEIGHT = 2.7  # inches
MANY = 12  # curves that still have a name and a colour each
SCORES = (("AP", "AP50", "AP75"), ("APs", "APm", "APl"))


def training(run: RunFolder) -> str:
    """Losses and learning rate, every logged step; nothing where none was logged."""
    steps, epochs = run.curves
    if not (names := losses(steps)):
        return ""
    with canvas("training", HEIGHT, columns=2) as (figure, (left, right)):
        for place, name in enumerate(names):
            total = name.startswith("train/loss")
            tint, width = (INK, 1.8) if total else (SERIES[1 + place % 7], 1.1)
            line(left, steps, epochs, name, label=short(name), color=tint, linewidth=width)
        line(right, steps, epochs, "train/lr", color=SERIES[1], linewidth=1.4)
        for axes, title in ((left, "training loss"), (right, "learning rate")):
            axes.set_title(title)
            axes.set_ylim(bottom=0)
            axes.grid(axis="y")
        left.legend(loc="upper right")
        return svg(figure, "Training losses and the learning rate over the run")


def validation(runs: Sequence[tuple[str, RunFolder]]) -> str:
    """AP at the end of each epoch that was validated; nothing where none was.

    Of one run all of COCO's, of several the AP of each.
    """
    single = len(runs) == 1
    columns = SCORES if single else (("AP",), ("AP50",))
    if not any("val/AP" in row for _, run in runs for row in run.curves.epochs):
        return ""
    with canvas("validation", HEIGHT, columns=2) as (figure, panels):
        for axes, names in zip(panels, columns, strict=True):
            drawn = ((title, run, name) for title, run in runs for name in names)
            for place, (title, run, name) in enumerate(drawn):
                look = {
                    "label": name if single else written(title),
                    "color": SERIES[place % len(SERIES)],
                }
                score(axes, run.curves.epochs, f"val/{name}", **look)
            axes.grid(axis="y")
            if axes.lines:
                axes.legend(loc="best")
        panels[0].set_title("validation" if single else "AP, validation")
        panels[1].set_title("by size" if single else "AP50, validation")
        return svg(figure, "Average precision on the validation pictures by epoch")


def precision_recall(means: Mapping[str, np.ndarray], classes: Mapping[str, np.ndarray]) -> str:
    """Means over the classes at three overlaps, and the curve of each class at 0.5."""
    if not classes:
        return ""
    with canvas("precision", 3.1, columns=2) as (figure, (left, right)):
        for place, (name, curve) in enumerate(means.items()):
            _curve(left, curve, name, SERIES[place + 1], 1.6)
        few = len(classes) <= MANY
        for place, (name, curve) in enumerate(classes.items()):
            tint = SERIES[place % len(SERIES)] if few else MUTED
            _curve(right, curve, written(name) if few else "", tint, 1.3 if few else 0.5)
        left.set_title("mean over classes")
        right.set_title("each class, IoU 0.50")
        left.set_ylabel("precision")
        left.legend(loc="best")
        if few:
            right.legend(loc="best", ncols=1 + len(classes) // 7)
        return svg(figure, "Precision over recall, means and classes")


def _curve(axes: Axes, curve: np.ndarray, label: str, tint: str, width: float) -> None:
    axes.plot(RECALLS, curve, color=tint, linewidth=width, label=label, clip_on=False)
    axes.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall")
    axes.grid()


def reliability(found: Calibration) -> str:
    """Precision by confidence, and how many detections there are of each confidence."""
    if not found.bins:
        return ""
    with canvas("calibration", HEIGHT, columns=2) as (figure, (left, right)):
        left.plot([0, 1], [0, 1], color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        for axes, heights in ((left, _of(found, "precision")), (right, _of(found, "size"))):
            for one, height in zip(found.bins, heights, strict=True):
                tint = SERIES[1] if one.low >= LEAST_SCORE - 1e-9 else MUTED
                axes.bar(one.low + 0.05, height, 0.088, color=tint, alpha=0.75)
            axes.set(xlim=(0, 1), xlabel="confidence")
            axes.grid(axis="y")
            axes.set_axisbelow(True)
        left.plot([one.score for one in found.bins], _of(found, "precision"), ".", color=INK)
        left.set_ylim(0, 1)
        left.set_title("precision at IoU 0.50")
        right.set_yscale("log")
        right.set_title("detections")
        return svg(figure, "Precision by confidence, and counts")


def _of(found: Calibration, name: str) -> Iterable[float]:
    return [getattr(one, name) for one in found.bins]
