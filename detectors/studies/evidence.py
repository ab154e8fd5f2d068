"""Keeps in a study's folder all that its report is computed from, so that it can be moved."""

import contextlib
import json
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectors.files import whole_file
from detectors.studies.design import Cell
from detectors.studies.store import Run

# Of a run: what it was, what it found, and what it should have found.
FILES = (
    *("run.json", "config.yaml", "metrics.json", "metrics.csv"),
    *("detections.json", "truth.json", "images.json"),
)
Runs = dict[str, dict[int, Path]]  # folder by seed by variant
Failed = dict[str, dict[int, str]]  # reason by seed by variant


def keep(
    folder: Path,
    node: Mapping[str, Any],
    runs: Mapping[Cell, Run],
    refused: Mapping[str, str],
    accepted: Sequence[str] = (),
) -> None:
    """Write what the study is and how its runs ended, and give their files a second name.

    Files are hard links where they can be, because a run that has ended changes none of them; a run
    that is trained anew has new ones.

    Args:
        node: what `read_study` reads.
        refused: reason by variant.
        accepted: files of code that have changed since some of the runs, which count all the same.
    """
    for run in runs.values():
        if run.state in ("done", "diverged"):
            _link(run.folder, folder / "runs" / run.key)
    rows = [
        {"variant": c.variant, "seed": c.seed, "key": c.key, "state": r.state, "reason": r.reason}
        for c, r in runs.items()
    ]
    cells = {"runs": rows, "refused": dict(refused), "accepted": list(accepted)}
    for name, content in {"study.json": node, "cells.json": cells}.items():
        with whole_file(folder / name) as lines:
            lines.write(json.dumps(content, indent=2) + "\n")


def _link(source: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        old, new = source / name, target / name
        if old.is_file() and not (new.is_file() and os.path.samefile(old, new)):
            new.unlink(missing_ok=True)
            try:
                os.link(old, new)
            except OSError:  # another disk
                shutil.copy2(old, new)


def kept(folder: Path) -> dict[str, Any]:
    """The study of a folder, as `read_study` reads it.

    Raises:
        ValueError: it is no folder of a study.
    """
    return _read(folder, "study.json")


def gathered(folder: Path) -> tuple[Runs, Failed]:
    """Folders of the runs that are done, and why others are not, by variant and seed.

    A variant that was refused has no run, and its reason with every seed.

    Raises:
        ValueError: it is no folder of a study.
    """
    runs: Runs = defaultdict(dict)
    failed: Failed = defaultdict(dict)
    cells = _read(folder, "cells.json")
    seeds = sorted({row["seed"] for row in cells["runs"]})
    for variant, reason in cells["refused"].items():
        failed[variant] = dict.fromkeys(seeds, f"refused: {reason}")
    for row in cells["runs"]:
        variant, seed = row["variant"], row["seed"]
        if row["state"] == "done":
            runs[variant][seed] = folder / "runs" / row["key"]
        else:
            told = (row["state"], row["reason"])
            failed[variant][seed] = ": ".join(filter(None, told))
    return dict(runs), dict(failed)


def accepted(folder: Path) -> list[str]:
    """Files of code that had changed since some of the runs when these were gathered."""
    return list(_read(folder, "cells.json").get("accepted", []))


def _read(folder: Path, name: str) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        return json.loads((folder / name).read_text(encoding="utf-8"))
    raise ValueError(
        f"{folder} is no folder of a study, because it has no {name}: expected one that `detectors "
        "study report` has written"
    )
