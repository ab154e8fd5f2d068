"""Writes a report as Markdown for `experiments/LOG.md`."""

from collections.abc import Callable, Iterator
from typing import Any

Lines = Iterator[str]


def markdown(report: dict[str, Any]) -> str:
    """The whole report; of a section that failed, what it had found and the error."""
    lines = [f"## {report['date'][:10]} · GPU report: {report['processor']}", "", _made(report)]
    for name, section in report["sections"].items():
        lines += ["", f"**{name.capitalize()}**, {section['seconds']:.0f} s."]
        if section["results"]:
            lines += ["", *TABLES[name](section["results"])]
        if section["error"]:
            lines += ["", f"Failed: {section['error']}"]
    return "\n".join(lines)


def _made(report: dict[str, Any]) -> str:
    """Versions, and what was measured."""
    given, torch = report["settings"], report["packages"].get("torch")
    words = f", {' '.join(given['words'])}" if given["words"] else ""
    return (
        f"torch {torch}, CUDA {report['cuda']}, cuDNN {report['cudnn']}, commit "
        f"{report['git_commit']}{' with changes' if report['git_changes'] else ''}. "
        f"Batches of {given['batch']} at {given['size']} px{words}."
    )


def _tests(found: dict[str, Any]) -> Lines:
    yield f"{found['passed']} passed, {found['failed']} failed, {found['skipped']} skipped."
    yield from (f"- {name}" for name in found["failures"])


def _race(found: dict[str, Any]) -> Lines:
    yield from _head("model", "px", "work", "variant", "ms", "images/s", "share of peak", "peak MB")
    for family, one in found.items():
        for work in (work for work in ("train", "infer") if work in one):
            for variant, measured in one[work].items():
                share, taken = measured["share_of_peak"], measured["bytes"]
                yield _row(
                    family,
                    one["side"],
                    work,
                    variant,
                    f"{1000 * measured['seconds']:.1f}",
                    f"{measured['images_per_second']:.1f}",
                    _or_unknown(share, lambda share: f"{share:.1%}"),
                    _or_unknown(taken, lambda taken: f"{taken / 1e6:.0f}"),
                )


def _synchronisations(found: dict[str, Any]) -> Lines:
    yield from _head("model", "synchronisations of a step", "where, the most frequent")
    for family, one in found.items():
        places = list((one["places"] or {}).items())[:3]
        where = ", ".join(f"`{place}` {count}" for place, count in places)
        yield _row(family, _or_unknown(one["count"], str), where)


def _profile(found: dict[str, Any]) -> Lines:
    yield from _head("model", "ms", "convolutions", "operators with the most time of their own")
    for family, one in found.items():
        first = (f"{op['name']} {op['share']:.1%}" for op in one["operators"])
        taken = f"{1000 * one['seconds']:.1f}"
        yield _row(family, taken, f"{one['convolutions']:.1%}", ", ".join(first))


def _loader(found: dict[str, Any]) -> Lines:
    yield from _head("loader", *next(iter(found.values())))
    for name, one in found.items():
        yield _row(name, *(f"{value:.2f}" for value in one.values()))


def _training(found: dict[str, Any]) -> Lines:
    yield f"`detectors train {' '.join(found['words'])}`"
    if "images_per_second" in found:
        yield ""
        yield (
            f"{found['images_per_second']:.1f} images/s, {found['steps']} steps, "
            f"{found['train_seconds']:.0f} s in {found['precision']}."
        )
    if "loss_first" in found:
        first, last = found["loss_first"], found["loss_last"]
        yield f"Mean loss of the first epoch {first:.4g}, of the last {last:.4g}."


def _head(*names: str) -> Lines:
    yield _row(*names)
    yield _row(*["---"] * len(names))


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def _or_unknown(value: Any, shown: Callable[[Any], str]) -> str:
    return "?" if value is None else shown(value)


TABLES: dict[str, Callable[[dict[str, Any]], Lines]] = {
    "tests": _tests,
    "race": _race,
    "synchronisations": _synchronisations,
    "profile": _profile,
    "loader": _loader,
    "training": _training,
}
