"""Studies of real trainings, each of seconds, and what may differ between two of the same."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BASE = [
    *("model=yolov3_tiny", "size=small", "image_size=64", "device=cpu", "precision=32-true"),
    *("data=scenes_easy", "scenes.layout.side=64", "data.train.read.count=8", "data.val.count=8"),
    *("data.batch_size=2", "data.num_workers=0", "~callback.pictures", "trainer.max_epochs=3"),
    *("trainer.checkpoint_minutes=1e-9", "trainer.num_sanity_val_steps=0"),
]
# By dotted place in `results.json`: what a clock or the machine decides, and nothing else.
MAY_DIFFER = (
    r"sha256",
    r"variants\.\d+\.costs\.(train_seconds|evaluation_seconds)\.(mean|least|most)",
    r"variants\.\d+\.costs\.(memory_process|latency_ms|latency_iqr_ms)\.(mean|least|most)",
    r"variants\.\d+\.runs\.\d+\.files\.run\.json",  # whose own places are these:
)
RECORD_MAY_DIFFER = (
    *("started", "ended", "pid", r"words\.\d+", "train_seconds", "evaluation_seconds"),
    *("images_per_second", r"memory\.process", r"latency\..*"),
)
# Of a run, to the bit.
EQUAL = ("metrics.json", "detections.json", "truth.json", "images.json", "metrics.csv")


def write_study(folder: Path, name: str, **node: Any) -> None:
    """`conf/study/NAME.yaml` in the folder."""
    (folder / "conf" / "study").mkdir(parents=True, exist_ok=True)
    text = json.dumps({"base": BASE, **node})
    (folder / "conf" / "study" / f"{name}.yaml").write_text(f"# @package study\n{text}\n")


def study(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """`detectors study` in a process of its own; what it tells is added to `told.txt`."""
    command = [sys.executable, "-m", "detectors", "study", *words, "--config-dir", "conf"]
    with (folder / "told.txt").open("ab") as told:
        return subprocess.Popen(command, cwd=folder, stdout=told, stderr=told, env={**os.environ})


def ended(folder: Path, *words: str) -> int:
    """Exit code of the same."""
    return study(folder, *words).wait(timeout=3600)


def leaves(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Everything in a JSON value by its dotted place."""
    pairs = node.items() if isinstance(node, Mapping) else enumerate(node)
    for name, child in pairs:
        here = f"{place}.{name}".lstrip(".")
        if isinstance(child, Mapping | list) and child:
            yield from leaves(child, here)
        else:
            yield here, child


def differing(one: Path, other: Path, may: tuple[str, ...]) -> list[str]:
    """Places in which two JSON files differ, but for those that may."""
    old, new = (dict(leaves(json.loads(file.read_text()))) for file in (one, other))
    return [
        f"{place}: {old.get(place)} and {new.get(place)}"
        for place in {**old, **new}
        if old.get(place, leaves) != new.get(place, leaves)
        and not any(re.fullmatch(pattern, place) for pattern in may)
    ]


def runs(store: Path) -> list[Path]:
    """Folders of the runs that count."""
    return sorted(f for f in store.iterdir() if re.fullmatch(r"[0-9a-f]{16}", f.name))


def unlike(one: Path, other: Path) -> list[str]:
    """In what two folders with a `store` and a `study` differ that should be the same."""
    found = differing(one / "study/results.json", other / "study/results.json", MAY_DIFFER)
    for run in runs(one / "store"):
        again = other / "store" / run.name
        found += [
            f"{run.name}/{name}"
            for name in EQUAL
            if (run / name).read_bytes() != (again / name).read_bytes()
        ]
        places = differing(run / "run.json", again / "run.json", RECORD_MAY_DIFFER)
        found += [f"{run.name}/run.json: {place}" for place in places]
    return found
