"""Says what the runs of a study have in common, what was left free, and which pairs differ.

Two runs are compared only where all agrees that the study calls fair. What differs is named with
both values: "epochs 30 and 36".
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from detectors.studies.design import Study

Record = Mapping[str, Any]  # run.json
Records = Mapping[str, Mapping[int, Record]]  # by variant and seed

# What each word of `fair` stands for in run.json; "data.classes" is a key below a key.
FACTS: Mapping[str, Mapping[str, str]] = {
    "data": {"training data": "data.training", "classes": "data.classes"},
    "epochs": {"epochs": "max_epochs"},
    "images": {"images seen": "images_seen"},
    "image_size": {"image size": "image_size"},
    "precision": {"precision": "precision"},
    "device": {
        "device": "device",
        "device name": "device_name",
        "devices": "devices",
        "deterministic": "deterministic",
    },
    "threads": {"threads": "threads"},
    "versions": {"versions": "versions"},
    "split": {"split": "split"},
    "evaluation": {
        "select": "select",
        "measured data": "data.measured",
        "evaluated pictures": "data.image_ids",
    },
}
# Without these no two numbers are of one kind.
ALWAYS = ("classes", "measured data", "evaluated pictures")
# What is multiplied for each budget that a study may hold equal.
BUDGETS: Mapping[str, tuple[str, ...]] = {
    "images": ("images_seen",),
    "operations": ("images_seen", "flops"),
    "seconds": ("train_seconds",),
}
# What differs of necessity between runs of one budget.
FREED = ("epochs", "images")
NOISE = {"images": 0.0, "operations": 0.0, "seconds": 0.1}  # clocks of a shared machine


class Facts(NamedTuple):
    """What a study compares between two runs."""

    fair: tuple[str, ...]  # words that must agree
    free: tuple[str, ...]  # words that may differ
    equal: str | None  # the budget that must agree


def asked(study: Study) -> Facts:
    """The words of the study, less those that its budget or its variants are free in."""
    freed = (*study.free, *(FREED if study.equal else ()))
    fair = tuple(word for word in study.fair if word not in freed)
    return Facts(fair, tuple(word for word in FACTS if word not in fair), study.equal)


def broken(a: Record, b: Record, facts: Facts) -> list[str]:
    """What keeps two runs from being compared, each with both values; empty where nothing does."""
    named = dict(_named(facts.fair)) | {
        name: place for words in FACTS.values() for name, place in words.items() if name in ALWAYS
    }
    lines = [
        f"{name} {told}"
        for name, place in named.items()
        if (told := _differing(name, value(a, place), value(b, place)))
    ]
    return [*lines, *_budget(a, b, facts.equal)]


def contract(study: Study, records: Records) -> dict[str, Any]:
    """What agreed, was free, differed, and why variants cannot be compared with their baseline.

    Args:
        records: run.json of every run that counts, by variant and seed.

    Returns:
        "agreed": value by name, where all runs share it. "differed": value by variant by name, for
        all else. "free": names of those that may differ. "broken": by variant, "seed 3: epochs 30
        and 36" and the like; variants that may be compared are left out. "mixed": runs that went
        on under other conditions than they began with. "code": files of which runs have had
        different contents, as a study may accept.
    """
    facts = asked(study)
    every = [run for runs in records.values() for run in runs.values()]
    agreed, differed = {}, {}
    for name, place in _named(FACTS):
        told = {_written(value(run, place)) for run in every}
        if len(told) == 1:
            agreed[name] = told.pop()
        elif told:
            differed[name] = {v: _all(runs.values(), place) for v, runs in records.items()}
    return {
        "fair": list(facts.fair),
        "free": list(facts.free),
        "equal": facts.equal,
        "agreed": agreed,
        "differed": differed,
        "broken": _broken(study, records, facts),
        "mixed": list(_mixed(records)),
        "code": _other_code(every),
    }


def _other_code(runs: Sequence[Record]) -> list[str]:
    """A variant need not import all files of another; those of both must be the same."""
    found: dict[str, set[str]] = {}
    for run in runs:
        for file, sha in (run.get("code") or {}).items():
            found.setdefault(file, set()).add(sha)
    return sorted(file for file, contents in found.items() if len(contents) > 1)


def value(run: Record, place: str) -> Any:
    """What a run has at a dotted place; None where it has nothing."""
    node: Any = run
    for name in place.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def _named(words: Sequence[str] | Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for word in words:
        yield from FACTS[word].items()


def _differing(name: str, a: Any, b: Any) -> str:
    """How two values differ; what runs must share and neither tells, as one of old, is unknown."""
    if a is None and b is None and name in (*ALWAYS, "training data"):
        return "unknown"
    return _apart(a, b)


def _apart(a: Any, b: Any) -> str:
    """Both values where they differ, of maps the items that do; empty where they are equal."""
    if a == b:
        return ""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
        return ", ".join(f"{name} {_apart(a.get(name), b.get(name))}" for name in names)
    return f"{_written(a)} and {_written(b)}"


def _written(found: Any) -> str:
    if isinstance(found, Mapping):
        return ", ".join(f"{name} {item}" for name, item in found.items())
    if isinstance(found, list | tuple):
        return ", ".join(map(str, found))
    if isinstance(found, str) and len(found) == 64:
        return found[:8]  # of a hash, so much tells them apart
    return "unknown" if found is None else str(found)


def _all(runs: Any, place: str) -> str:
    """The values of one variant, each once."""
    return "; ".join(dict.fromkeys(_written(value(run, place)) for run in runs))


def _budget(a: Record, b: Record, equal: str | None) -> Iterator[str]:
    """The sentence about budgets that are further apart than half an epoch can bring them.

    The number of epochs is whole, so that a budget is met to half of one at best.
    """
    if equal is None:
        return
    known = [value(run, place) is not None for run in (a, b) for place in BUDGETS[equal]]
    if not all(known):
        yield f"{equal} unknown"
        return
    ours, theirs = (math.prod(value(run, place) for place in BUDGETS[equal]) for run in (a, b))
    half = 0.5 / max(1, min(a["max_epochs"] or 1, b["max_epochs"] or 1))  # none of fitted models
    if abs(ours - theirs) > (half + NOISE[equal]) * max(ours, theirs):
        yield f"{equal} {ours:.4g} and {theirs:.4g}"


def _broken(study: Study, records: Records, facts: Facts) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, against in study.compared.items():
        runs, plain = records.get(name, {}), records.get(against, {})
        lines: dict[str, list[int]] = {}
        for seed in sorted(plain.keys() & runs.keys()):
            for line in broken(plain[seed], runs[seed], facts):
                lines.setdefault(line, []).append(seed)
        if lines:
            found[name] = list(lines)
    return found


def _mixed(records: Records) -> Iterator[str]:
    for variant, runs in records.items():
        for seed, run in runs.items():
            for life in run.get("earlier") or []:
                names = ", ".join(map(str, life))
                yield f"{variant}, seed {seed}: an earlier part of the run had other {names}"
