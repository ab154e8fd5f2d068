"""Shortens the training of dearer variants, so that all cost what the cheapest costs."""

import contextlib
import json
import statistics
from collections.abc import Mapping
from dataclasses import replace

from detectors.files import whole_file
from detectors.studies.cells import Planned, Planner
from detectors.studies.design import Study
from detectors.studies.store import Store

FILE = "equal.json"  # found once and kept, because other epochs would be other runs


def equalised(study: Study, planner: Planner, store: Store, may_try: bool) -> Study:
    """The study with fewer epochs for its dearer variants, where it asks for that.

    Costs are counted (`equal: operations`), or measured by runs in the store (`equal: seconds`).
    With the same number of images all variants train for the same epochs.

    Args:
        may_try: find the costs where they are not known yet.

    Raises:
        ValueError: the costs of a variant are not known; names the remedy.
    """
    if study.equal in (None, "images"):
        return study
    file, said = planner.folder / FILE, {v.name: list(v.words) for v in study.variants}
    known = {"equal": study.equal, "base": list(study.base), "variants": said}
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(file.read_text(encoding="utf-8"))
        if known.items() <= found.items():
            return _shortened(study, found["epochs"])
    if not may_try:
        raise ValueError(f"study.equal: {study.equal} of the variants are not known: plan it first")
    planned = planner.planned(study.seeds.start, tried=True)
    costs = _operations(study, planner, planned) if study.equal == "operations" else None
    costs = costs or _seconds(planned, store)
    epochs = epochs_for(costs, planner.epochs(study.baseline))
    with whole_file(file) as lines:
        json.dump({**known, "costs": costs, "epochs": epochs}, lines, indent=2)
    return _shortened(study, epochs)


def _shortened(study: Study, epochs: Mapping[str, int]) -> Study:
    variants = [
        v._replace(words=(*v.words, f"trainer.max_epochs={epochs[v.name]}"))
        if v.name in epochs
        else v
        for v in study.variants
    ]
    return replace(study, variants=tuple(variants))


def epochs_for(costs: Mapping[str, float], epochs: int) -> dict[str, int]:
    """Epochs of every variant at which it costs what the cheapest costs in `epochs`.

    Rounded to whole epochs, and never below one.

    Args:
        costs: of one picture by variant: operations or seconds.
        epochs: of the study's base.
    """
    least = min(costs.values())
    return {name: max(1, round(epochs * least / cost)) for name, cost in costs.items()}


def _operations(study: Study, planner: Planner, planned: Planned) -> dict[str, float]:
    """Of one picture, of each variant that is not refused.

    Raises:
        ValueError: those of a variant cannot be counted; names the reason.
    """
    costs = {v.name: planner.costs(v) for v in study.variants if v.name not in planned.refused}
    for name, own in costs.items():
        if own["operations"] is None:
            raise ValueError(
                f"study.equal: operations of {name} cannot be counted "
                f"({own['operations_missing']}): use equal: seconds or images"
            )
    return {name: own["operations"] for name, own in costs.items()}


def _seconds(planned: Planned, store: Store) -> dict[str, float]:
    """Of training with one picture: the median of the runs of a variant at full length."""
    found: dict[str, list[float]] = {cell.variant: [] for cell in planned.cells}
    for cell in planned.cells:
        run = store.run(cell.key)
        if run.state == "done":
            found[cell.variant].append(run.record["train_seconds"] / run.record["images_seen"])
    if unknown := [name for name, seconds in found.items() if not seconds]:
        raise ValueError(
            f"study.equal: seconds needs a finished run of each variant at full length, and "
            f"{', '.join(unknown)} has none: run once with study.equal=null 'study.seeds=[1]'"
        )
    return {name: statistics.median(seconds) for name, seconds in found.items()}
