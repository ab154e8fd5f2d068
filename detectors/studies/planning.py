"""Tells what a study would cost and could show, from the runs that there are."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectors.studies.cells import Planned
from detectors.studies.decimals import many
from detectors.studies.design import Cell, Study
from detectors.studies.store import Run, Store, read_record

USUAL = (0.4, 0.8, 1.6)  # standard deviations of a paired difference in AP points
EFFECTS = (0.5, 1.0, 2.0)  # AP points
ADVISED = 4  # switches from which on a fraction tells more than adding one at a time


def shown(study: Study, planned: Planned, store: Store, jobs: int) -> list[str]:
    """The lines of `study plan`."""
    runs = {cell: store.run(cell.key) for cell in planned.cells}
    return [
        *_heading(study),
        *_variants(study, planned),
        "",
        *_runs(runs),
        *_costs(study, runs, store, jobs),
        "",
        *_advice(study, planned),
        *_power(study, planned, store),
    ]


def _heading(study: Study) -> Iterator[str]:
    yield f"{study.name}: {study.question}" if study.question else study.name
    seeds = study.seeds
    more = "" if seeds.until is None else f", then up to {seeds.at_most} until ±{seeds.until:g} AP"
    yield f"base: {' '.join(study.base)}"
    variants, starting = many(len(study.variants), "variant"), many(len(seeds.start), "seed")
    yield f"design {study.design}, {variants}, {starting}{more}"
    said = study.claim.replace("_", " ")
    yield f"verdict on {study.metric} for {said}, {study.select} weights, pictures of {study.split}"


def _variants(study: Study, planned: Planned) -> Iterator[str]:
    width = max(len(variant.name) for variant in study.variants)
    for variant in study.variants:
        refused = planned.refused.get(variant.name)
        told = " ".join(variant.words) or "as the base"
        yield f"  {variant.name:<{width}}  {told}{f'  REFUSED: {refused}' if refused else ''}"
        if idle := planned.idle.get(variant.name):
            yield f"  {'':<{width}}  fitted in stages, so without {' '.join(idle)}"
    for line in study.aliases:
        yield f"  cannot be told apart: {line}"


def counted(runs: Sequence[Run]) -> str:
    """How many are in each state."""
    states = [run.state for run in runs]
    return ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))


def _runs(runs: Mapping[Cell, Run]) -> Iterator[str]:
    states = counted(list(runs.values()))
    yield f"{many(len(runs), 'run')}: {states}" if runs else "no run can be made"
    for cell, run in runs.items():
        if run.state == "stale":
            yield f"  stale: {cell.variant}, seed {cell.seed}: {run.reason}"


def _costs(study: Study, runs: Mapping[Cell, Run], store: Store, jobs: int) -> Iterator[str]:
    """Hours and gigabytes of what is missing, by the runs of the same base in the store."""
    missing = [cell for cell, run in runs.items() if run.state in ("missing", "lost", "stale")]
    if not missing:
        return
    seconds: dict[str, list[float]] = defaultdict(list)
    sizes: list[int] = []
    for words, record, folder in _of_base(study, store):
        seconds[words].append(record["train_seconds"] + record["evaluation_seconds"])
        sizes.append(sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()))
    if not sizes:
        yield "hours and gigabytes: nothing is known, because no run of this base is in the store"
        return
    every = [one for own in seconds.values() for one in own]
    expected = sum(statistics.median(seconds.get(_plain(c.words)) or every) for c in missing)
    disk = len(missing) * statistics.median(sizes) / 1e9
    yield (
        f"to expect: {expected / 3600 / jobs:.1f} hours with {jobs} at once, {disk:.1f} GB, by "
        f"{many(len(sizes), 'run')} of this base"
    )


def _of_base(study: Study, store: Store) -> Iterator[tuple[str, Mapping[str, Any], Path]]:
    """Words without seed, record and folder of every finished run with the words of the base."""
    base = set(study.base)
    for file in sorted(store.folder.glob("*/run.json")):
        record = read_record(file.parent)
        counts = record.get("state") == "done" and record.get("key") == file.parent.name
        if counts and base <= set(record.get("words", [])):
            yield _plain(record["words"]), record, file.parent


def _plain(words: Sequence[str]) -> str:
    """Words without seed and folders, in an order of their own."""
    left_out = ("seed=", "hydra.", "ckpt_path=", "run_dir=")
    return json.dumps(sorted(word for word in words if not word.startswith(left_out)))


def _advice(study: Study, planned: Planned) -> Iterator[str]:
    switches = len(study.baseline.levels)
    if study.design == "add_one" and switches >= ADVISED:
        share = 100 * (2 / (switches + 1)) ** 0.5
        yield (
            f"{switches} switches: for as many runs study.design=fraction finds each effect with "
            f"{share:.0f} % of the error, averaged over the others; add_one answers what each adds "
            "to plain"
        )
    if unfit := cannot_run(study, planned):
        yield f"study run will refuse: {unfit}"


def cannot_run(study: Study, planned: Planned) -> str:
    """Why the study as a whole makes no sense with the variants that are refused; or nothing."""
    if not left_to_compare(study, planned):
        reason = planned.refused.get(study.baseline.name)
        return f"the baseline is refused: {reason}" if reason else "nothing is left to compare"
    if planned.refused and study.design == "fraction":
        names = ", ".join(planned.refused)
        return f"a fraction needs all its variants, and {names} cannot be run: study.design=add_one"
    return ""


def left_to_compare(study: Study, planned: Planned) -> list[str]:
    """Variants that can be run and whose baselines can."""
    gone = planned.refused
    return [n for n, against in study.compared.items() if n not in gone and against not in gone]


def paired_sds(study: Study, store: Store) -> dict[str, float]:
    """Standard deviation over seeds of the difference to the baseline, by words, in AP points.

    Of all runs of the same base in the store that share two seeds or more with their baseline.
    """
    values: dict[str, dict[int, float]] = defaultdict(dict)
    for words, record, _ in _of_base(study, store):
        value = record["metrics"].get(study.metric)
        if value is not None and value >= 0:  # -1: there is nothing of that size
            values[words][record["seed"]] = 100 * value
    said = {variant.name: _plain(study.words(variant, 0)) for variant in study.variants}
    against = {said[name]: said[base] for name, base in study.compared.items()}
    if len({*against.values()}) == 1:  # any other runs of this base count too
        against = {**dict.fromkeys(values, said[study.baseline.name]), **against}
    differences: dict[str, list[float]] = {}
    for words, base in against.items():
        own, plain = values.get(words, {}), values.get(base, {})
        if words != base:
            differences[words] = [own[seed] - plain[seed] for seed in own.keys() & plain.keys()]
    return {words: statistics.stdev(d) for words, d in differences.items() if len(d) > 1}


def too_wide(study: Study, results: Mapping[str, Any]) -> dict[str, float]:
    """Half widths in AP points of the intervals that more seeds would narrow to `seeds.until`.

    Args:
        results: of `analysis.analyse`. What the pictures alone make wider is left out.
    """
    from detectors.studies.power import wants_seeds  # scipy, which no plan needs

    kind, found = study.claim.removesuffix("_pictures"), dict[str, float]()
    for row in results["comparisons"]:
        unfit = not row["comparable"] or row.get("verdict", {}).get("kind") == "none"
        if row["metric"] != study.metric or unfit or row[kind] is None:
            continue
        half, pictures = row[kind]["half"], row["pictures_half"] if kind == "new" else 0.0
        if wants_seeds(half, pictures, study.seeds.until):
            found[row["variant"]] = half
    return found


def _power(study: Study, planned: Planned, store: Store) -> Iterator[str]:
    """What the seeds can find, by the scatter of runs that there are, or else for usual ones."""
    sds = list(paired_sds(study, store).values())
    seeds, others = len(study.seeds.start), len(left_to_compare(study, planned))
    if others < 1:
        return  # what is left to compare is told already
    if seeds < 2:
        yield "power: none, because an interval takes two seeds"
        return
    known = [statistics.median(sds)] if sds else list(USUAL)
    source = (
        "as runs of this base have it" if sds else "not known: the store has no pairs of this base"
    )
    yield f"scatter over seeds of a difference to the baseline: {source}"
    if study.claim == "new_pictures":
        yield "chances on these pictures; on new ones they are lower, by as much as pictures differ"
    yield from (_chances(study, sd, seeds, others) for sd in known)
    if study.design in ("fraction", "full") and (switches := len(study.baseline.levels)):
        runs = len(study.variants)
        yield f"the effect of a switch, half of {runs} variants less the other half:"
        yield from (_chances(study, sd * (2 / runs) ** 0.5, seeds, switches) for sd in known)


def _chances(study: Study, sd: float, seeds: int, others: int) -> str:
    """A line for one standard deviation."""
    from detectors.studies.power import power, seeds_needed  # scipy, which no other answer needs

    chances = [f"{100 * power(effect, sd, seeds, others):.0f} %" for effect in EFFECTS]
    half = study.seeds.until or 0.5
    found = ", ".join(f"{e:g} AP {chance}" for e, chance in zip(EFFECTS, chances, strict=True))
    needed = seeds_needed(sd, half)
    takes = f"takes {many(needed, 'seed')}" if needed else "is out of reach"
    return f"  sd {sd:.1f} AP: chance to find {found}; ±{half:g} AP {takes}"
