"""Computes what a study shows: differences with intervals, verdicts, costs and their causes.

All numbers of AP are in points (0 to 100). What is returned is plain JSON, `results.json`, from
which tables and report are written, and which `verify` computes again.
"""

import hashlib
import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from detectors.studies.contract import contract
from detectors.studies.design import Study
from detectors.studies.disagreement import pictures
from detectors.studies.effects import (
    DRAWS,
    LEVEL,
    Difference,
    Interval,
    difference,
    differences,
    holm,
    interval,
    scatter_ratio,
    scatter_ratio_by_chance,
)
from detectors.studies.interactions import Contrast, contrasts
from detectors.studies.measured import TIDE, Measured, reader
from detectors.studies.power import pictures_half
from detectors.studies.verdict import foreseen, verdict

FORMAT = 2
DIGITS = 12  # of a float that are stored: what is left is rounding of the machine
COSTS: Mapping[str, str] = {
    "parameters": "parameters",
    "flops": "flops",
    "images_seen": "images_seen",
    "epochs": "epochs",
    "train_seconds": "train_seconds",
    "evaluation_seconds": "evaluation_seconds",
    "memory_process": "memory.process",
    "memory_device": "memory.device",
    "latency_ms": "latency.median_ms",
    "latency_iqr_ms": "latency.iqr_ms",
}

# What a run may be unable to find of its detector; the reason is in `NAME_missing`.
UNMEASURED = ("flops", "latency")

LUCKY = (
    "no verdict: the epoch was chosen on the pictures that measure it, which flatters whatever "
    "scatters more; train with select=last"
)

OWN = "the first of its pair"  # the baseline where there are several

Runs = Mapping[str, Mapping[int, Measured]]  # by variant and seed
Row = dict[str, Any]


class Setting(NamedTuple):
    """What all comparisons of a study share."""

    study: Study
    runs: Runs
    failed: Mapping[str, Mapping[int, str]]
    broken: Mapping[str, list[str]]  # why a variant is not comparable

    def pictures(self, names: Collection[str]) -> int:
        """How many pictures the runs of these variants were measured on, the most of all."""
        runs = (run for name in names for run in self.runs[name].values())
        return max((len(run.pictures) for run in runs), default=0)

    def trouble(self, names: Collection[str]) -> str:
        """The phrase that forbids a verdict about these variants; empty where there is none."""
        if lines := [line for name in names for line in self.broken.get(name, ())]:
            return "not comparable: " + "; ".join(dict.fromkeys(lines))
        if any(_lucky(run) for name in names for run in self.runs[name].values()):
            return LUCKY
        reasons = [list(self.failed.get(name, {}).values()) for name in names]
        if refused := [why for own in reasons for why in own if why.startswith("refused")]:
            return f"no verdict: {refused[0]}"
        gone = [sum(why.startswith("diverged") for why in own) for own in reasons]
        seeds = f"of {len(asked_seeds(self))} seeds"
        if len(gone) == 2 and gone[1] and not gone[0]:  # the variant alone, which the row names
            return f"diverged with {gone[1]} {seeds}"
        if any(gone):
            told = (f"{name} diverged with {n}" for name, n in zip(names, gone, strict=True) if n)
            return f"no verdict: {' and '.join(told)} {seeds}"
        return ""


def _lucky(run: Measured) -> bool:
    return run.record["select"] == "best" and run.record["split"] == "val"


def analyse(
    study: Study,
    runs: Mapping[str, Mapping[int, Path]],
    failed: Mapping[str, Mapping[int, str]],
    accepted: Sequence[str] = (),
) -> Row:
    """All that a study shows, as plain JSON.

    Args:
        study: what is compared and claimed.
        runs: finished run folders by variant and seed, as `STUDY/runs/KEY`.
        failed: why a run has no number, by variant and seed; "diverged ..." is a result.
        accepted: files of code that have changed since some of the runs.

    Raises:
        ValueError: a folder lacks a file or no run reports the metric; names it.
    """
    measure = reader(study.metric)
    measured = {
        variant.name: {seed: measure(path) for seed, path in runs.get(variant.name, {}).items()}
        for variant in study.variants
    }
    agreement = contract(
        study, {name: {s: run.record for s, run in of.items()} for name, of in measured.items()}
    )
    agreement["accepted"] = list(accepted)
    setting = Setting(study, measured, failed, agreement["broken"])
    return signed(plain(_results(setting, agreement)))


def _results(setting: Setting, agreement: Row) -> Row:
    metrics = _metrics(setting.runs)
    primary = setting.study.metric
    classes = [name for name in metrics if name.startswith("AP/")]
    errors = [name for name in metrics if name.startswith(TIDE)]
    single = [name for name in metrics if name == primary or name not in (*classes, *errors)]
    return {
        "format": FORMAT,
        "study": {**_described(setting), "select": agreement["agreed"].get("select")},
        "contract": agreement,
        "variants": [_variant(setting, v.name, single, errors) for v in setting.study.variants],
        "comparisons": [row for name in single for row in _compared(setting, name)],
        "classes": _families(setting, classes),
        "errors": _families(setting, errors),
        "effects": _effects(setting),
        "curves": _curves(setting),
        "pictures": pictures(setting.study, setting.runs),
    }


def _metrics(runs: Runs) -> list[str]:
    """Names that all runs know, in the order of the first."""
    every = [run for of in runs.values() for run in of.values()]
    first = list(every[0].points) if every else []
    return [name for name in first if all(name in run.points for run in every)]


def _described(setting: Setting) -> Row:
    study = setting.study
    return {
        "name": study.name,
        "question": study.question,
        "base": study.base,
        "design": study.design,
        "baseline": study.baseline.name if len({*study.compared.values()}) == 1 else OWN,
        "metric": study.metric,
        "split": study.split,
        "claim": study.claim,
        "equal_within": study.equal_within,
        "until": study.seeds.until,
        "seeds": asked_seeds(setting),
        "variance": study.variance,
        "scatter_ratio": _scatter_ratio(setting) if study.variance == "pooled" else None,
        "scatter_ratio_by_chance": _by_chance(setting) if study.variance == "pooled" else None,
        "adjust": study.adjust,
        "aliases": study.aliases,
        "code": study.code,
        "pictures": setting.pictures(setting.runs),
        "draws": DRAWS,
    }


def _scatter_ratio(setting: Setting) -> float | str | None:
    """Of the variants that share two seeds or more; far above 1 they must not be pooled."""
    known = [_values(of, setting.study.metric) for of in setting.runs.values()]
    able = {str(place): of for place, of in enumerate(known) if len(of) > 1}
    common = set.intersection(*(set(of) for of in able.values())) if able else set()
    if len(able) < 2 or len(common) < 2:
        return None
    ratio = scatter_ratio(able)
    return ratio if math.isfinite(ratio) else "infinitely many"


def _by_chance(setting: Setting) -> float:
    """What the ratio exceeds in 5 % of studies of variants that scatter alike."""
    return scatter_ratio_by_chance(len(setting.runs), max(2, len(asked_seeds(setting))))


def asked_seeds(setting: Setting) -> list[int]:
    """Seeds that the study wants of each variant: those it starts with, and any that were added."""
    tried = {seed for of in (*setting.runs.values(), *setting.failed.values()) for seed in of}
    return sorted({*setting.study.seeds.start, *tried})


# Variants


def _variant(setting: Setting, name: str, metrics: Sequence[str], errors: Sequence[str]) -> Row:
    runs = setting.runs[name]
    variant = next(v for v in setting.study.variants if v.name == name)
    return {
        "name": name,
        "words": variant.words,
        "levels": variant.levels,
        "n": len(runs),
        "metrics": {metric: _level(setting, name, metric) for metric in metrics},
        "errors": {metric: _level(setting, name, metric) for metric in errors},
        "costs": {cost: _spread(runs, place) for cost, place in COSTS.items()},
        "unmeasured": {name: _reasons(runs, name) for name in UNMEASURED},
        "runs": [_run(seed, run) for seed, run in sorted(runs.items())],
        "failed": dict(sorted(setting.failed.get(name, {}).items())),
    }


def _level(setting: Setting, name: str, metric: str) -> Row:
    """Mean of a metric over the seeds that have it, with both intervals where there are two."""
    values = _values(setting.runs[name], metric)
    mean = _mean(list(values.values())) if values else None
    row: Row = {"n": len(values), "mean": mean, "sd": None, "these": None, "new": None}
    if len(values) < 2 or not _same(setting, name):
        return row
    variance = pictures_variance(setting.runs, {name: 1}, values, metric)
    level = difference(values, dict.fromkeys(values, 0.0), variance)
    row["sd"] = float(np.std(list(values.values()), ddof=1))
    return {**row, "these": _interval(level.these), "new": _interval(level.new)}


def _run(seed: int, run: Measured) -> Row:
    record = run.record
    return {
        "seed": seed,
        "folder": run.folder.relative_to(run.folder.parents[1]).as_posix(),
        "key": record.get("key"),
        "state": record.get("state"),
        "epoch": record.get("measured_epoch"),
        "device": record.get("device_name"),
        "git_commit": record.get("git_commit"),
        "metrics": run.points,
        "files": run.hashes,
    }


def _spread(runs: Mapping[int, Measured], place: str) -> Row | None:
    """Mean, least and most of a cost over the runs that know it; None where none does."""
    found = [v for run in runs.values() if (v := _at(run.record, place)) is not None]
    if not found:
        return None
    return {"n": len(found), "mean": _mean(found), "least": min(found), "most": max(found)}


def _reasons(runs: Mapping[int, Measured], name: str) -> list[str]:
    """Why runs have no such cost, each reason once."""
    found = [run.record.get(f"{name}_missing") for _, run in sorted(runs.items())]
    return list(dict.fromkeys(filter(None, found)))


def _at(record: Mapping[str, Any], place: str) -> float | None:
    node: Any = record
    for name in place.split("."):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


# Differences


def _compared(setting: Setting, metric: str) -> Iterator[Row]:
    """A row for each variant beside the baseline, a verdict in those of the primary metric."""
    found = _differences(setting, metric)
    expect = {variant.name: variant.expect for variant in setting.study.variants}
    count = sum(one.p_adjusted is not None for one in found.values())
    for name, against in setting.study.compared.items():
        row = _row(setting, name, metric, found.get(name))
        if metric == setting.study.metric:
            told = judged(setting, found.get(name), (against, name))
            row["verdict"] = {**told, "words": told["words"] + foreseen(told["kind"], expect[name])}
            row["wide"] = _wide(found.get(name), setting.study.claim, count)
        yield row


def judged(setting: Setting, found: Difference | None, names: Collection[str]) -> Row:
    """The verdict about a difference in the primary metric between these variants."""
    study = setting.study
    told = verdict(
        found,
        metric=study.metric,
        claim=study.claim,
        equal_within=study.equal_within,
        until=study.seeds.until,
        images=setting.pictures(names),
        asked=len(asked_seeds(setting)),
        trouble=setting.trouble(names),
        seeds=len(common_seeds(setting, names)),
    )
    return {"kind": told.kind, "words": told.words}


def _row(setting: Setting, name: str, metric: str, found: Difference | None) -> Row:
    why = setting.broken.get(name, [])
    row = {"variant": name, "baseline": setting.study.compared[name], "metric": metric}
    return {**row, **_told(found), "comparable": not why, "why": "; ".join(why)}


def _told(found: Difference | None) -> Row:
    if found is None:
        names = ("seeds", "per_seed", "mean", "these", "new", "pictures_half", "p", "p_adjusted")
        return {"n": 0, **dict.fromkeys(names)}
    return {
        "n": len(found.seeds),
        "seeds": found.seeds,
        "per_seed": found.per_seed,
        "mean": found.mean,
        "these": _interval(found.these),
        "new": _interval(found.new),
        "pictures_half": pictures_half(found),
        "p": found.p,
        "p_adjusted": found.p_adjusted,
    }


def _interval(found: Interval) -> Row:
    return dict(found._asdict())


def _wide(found: Difference | None, claim: str, count: int) -> Row | None:
    """The interval of the claim that holds together with those of `count` comparisons.

    Bonferroni's; None where the comparison is not one of them.
    """
    if found is None or found.p_adjusted is None:
        return None
    claimed = found.these if claim == "these_pictures" else found.new
    return _interval(interval(found.mean, claimed.se, claimed.df, 1 - (1 - LEVEL) / count))


def _differences(setting: Setting, metric: str) -> dict[str, Difference]:
    """By variant, those that have two or more seeds and all pictures in common with their baseline.

    Only what may be compared counts in the adjustment of p; what is only shown gets none.
    """
    bases = list(dict.fromkeys(setting.study.compared.values()))
    found = {n: d for base in bases for n, d in _from(setting, metric, base).items()}
    fair = [name for name in found if name not in setting.broken]
    if len(bases) > 1:  # Holm over all pairs, not over those of each baseline
        adjusted = zip(fair, holm([found[name].p for name in fair]), strict=True)
        found |= {name: found[name]._replace(p_adjusted=p) for name, p in adjusted}
    return {n: d if n in fair else d._replace(p_adjusted=None) for n, d in found.items()}


def _from(setting: Setting, metric: str, base: str) -> dict[str, Difference]:
    """Of the variants that are compared with one baseline, p adjusted over the comparable ones."""
    study = setting.study
    names = [name for name, against in study.compared.items() if against == base]
    known = {name: _values(setting.runs[name], metric) for name in (base, *names)}
    common = {name: sorted(known[name].keys() & known[base].keys()) for name in names}
    able = [name for name, seeds in common.items() if len(seeds) > 1 and _same(setting, name, base)]
    fair = [name for name in able if name not in setting.broken]
    others = [[name] for name in able if name in setting.broken]
    if study.variance == "pooled" and fair:
        shared = set.intersection(*(set(common[name]) for name in fair))
        common |= dict.fromkeys(fair, sorted(shared))
        fair = fair if len(shared) > 1 else []
    found: dict[str, Difference] = {}
    for group in filter(None, (fair, *others)):
        variance = {
            name: pictures_variance(setting.runs, {name: 1, base: -1}, common[name], metric)
            for name in group
        }
        values = {name: known[name] for name in (base, *group)}
        found |= differences(values, base, variance, study.claim, study.variance, study.adjust)
    return found


def common_seeds(setting: Setting, names: Collection[str]) -> list[int]:
    """Seeds with which all of the variants have the primary metric."""
    metric = setting.study.metric
    return sorted(set.intersection(*(set(_values(setting.runs[n], metric)) for n in names)))


def _values(runs: Mapping[int, Measured], metric: str) -> dict[int, float]:
    """By seed, of the runs in which the metric is defined."""
    return {s: p for s, run in sorted(runs.items()) if (p := run.points[metric]) is not None}


def _same(setting: Setting, *names: str) -> bool:
    """Whether all runs of the variants were measured on the same pictures."""
    return len({run.pictures for name in names for run in setting.runs[name].values()}) == 1


def pictures_variance(
    runs: Runs, weights: Mapping[str, float], seeds: Collection[int], metric: str
) -> float:
    """Variance over resampled pictures of a weighted sum of variants' seed means, points squared.

    All runs share the draws; one in which the metric is undefined is left out.
    """
    means = [
        w * np.mean([runs[name][s].draws[metric] for s in seeds], axis=0)
        for name, w in weights.items()
    ]
    total = np.sum(means, axis=0)
    known = total[np.isfinite(total)]
    return float(known.var(ddof=1)) if len(known) > 1 else 0.0


def _families(setting: Setting, metrics: Sequence[str]) -> list[Row]:
    """Rows of every variant and class or kind of error, with p adjusted over these."""
    rows = []
    for metric in metrics:
        found = _differences(setting, metric)
        rows += [_row(setting, name, metric, found.get(name)) for name in setting.study.compared]
    return _adjusted(rows, "variant")


def _adjusted(rows: list[Row], over: str) -> list[Row]:
    """The rows with Holm's p over all that share the value of a key."""
    for group in {row[over] for row in rows}:
        own = [row for row in rows if row[over] == group and row["p"] is not None]
        for row, p in zip(own, holm([row["p"] for row in own]), strict=True):
            row["p_adjusted"] = p
    return rows


# Effects of switches


def _effects(setting: Setting) -> Row:
    """Main effects with verdicts and interactions of pairs; nothing for other designs."""
    study = setting.study
    if study.design not in ("fraction", "full"):
        return {"main": [], "pairs": [], "aliases": []}
    found = contrasts(study.variants)
    mains = [(c, _contrast(setting, c)) for c in found if len(c.factors) == 1]
    pairs = [(c, _contrast(setting, c)) for c in found if len(c.factors) == 2]
    return {
        "main": _effect_rows(setting, mains, judge=judged),
        "pairs": _effect_rows(setting, pairs),
        "aliases": study.aliases,
    }


def _contrast(setting: Setting, contrast: Contrast) -> Difference | None:
    """The effect, over the seeds in which all its variants have a number; None below two."""
    metric, weights = setting.study.metric, contrast.weights
    values = {name: _values(setting.runs[name], metric) for name in weights}
    common = common_seeds(setting, weights)
    if len(common) < 2 or not _same(setting, *weights):
        return None
    effect = {s: math.fsum(w * values[name][s] for name, w in weights.items()) for s in common}
    variance = pictures_variance(setting.runs, weights, common, metric)
    return difference(effect, dict.fromkeys(effect, 0.0), variance, setting.study.claim)


def _effect_rows(
    setting: Setting,
    found: Sequence[tuple[Contrast, Difference | None]],
    judge: Callable[[Setting, Difference | None, Collection[str]], Row] | None = None,
) -> list[Row]:
    ps = iter(holm([d.p for _, d in found if d is not None]))
    rows = []
    for contrast, one in found:
        if one is not None:
            one = one._replace(p_adjusted=next(ps))
        row = {"factors": contrast.factors, "name": contrast.name, **_told(one)}
        if judge is not None:
            row["verdict"] = judge(setting, one, contrast.weights)
            row["wide"] = _wide(one, setting.study.claim, sum(d is not None for _, d in found))
        rows.append(row)
    return rows


# Learning curves


def _curves(setting: Setting) -> list[Row]:
    """Mean of the primary metric by epoch, and the band of the paired difference over seeds."""
    rows = []
    for variant in setting.study.variants:
        runs, plain = setting.runs[variant.name], setting.runs.get(variant.against or "", {})
        own = _shared_epochs(list(runs.values()))
        common = sorted(plain.keys() & runs.keys())
        both = _shared_epochs([of[s] for of in (runs, plain) for s in common])
        paired = both if len(common) > 1 else []
        means = [_mean([run.curve[epoch] for run in runs.values()]) for epoch in own]
        bands = [
            difference(
                {s: runs[s].curve[e] for s in common}, {s: plain[s].curve[e] for s in common}, 0.0
            )
            for e in paired
        ]
        rows.append(
            {
                "variant": variant.name,
                "n": len(runs),
                "epochs": own,
                "mean": means,
                "paired_epochs": paired,
                "difference": [band.mean for band in bands],
                "low": [band.these.low for band in bands],
                "high": [band.these.high for band in bands],
            }
        )
    return rows


def _shared_epochs(runs: Sequence[Measured]) -> list[int]:
    return sorted(set.intersection(*(set(run.curve) for run in runs))) if runs else []


# JSON


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def plain(node: Any) -> Any:
    """Containers and numbers that JSON knows; floats rounded to twelve digits."""
    if isinstance(node, Mapping):
        return {str(key): plain(child) for key, child in node.items()}
    if isinstance(node, list | tuple):
        return [plain(child) for child in node]
    if isinstance(node, bool | int | str) or node is None:
        return node
    number = float(node)
    return float(f"{number:.{DIGITS}g}") if math.isfinite(number) else None


def signed(results: Mapping[str, Any]) -> Row:
    """The results with the SHA-256 of all the rest, so that no digit changes unseen."""
    rest = {key: value for key, value in results.items() if key != "sha256"}
    text = json.dumps(rest, sort_keys=True)
    return {**rest, "sha256": hashlib.sha256(text.encode()).hexdigest()}
