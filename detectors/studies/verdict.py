"""Says in fixed words what a study has shown of a variant, and no more."""

from typing import NamedTuple

from detectors.studies.decimals import fixed
from detectors.studies.effects import LEVEL, NO_SCATTER, Difference, Interval, equivalence, tost
from detectors.studies.power import more_seeds, pictures_half, pictures_needed

LARGEST_P = 1 - LEVEL


class Verdict(NamedTuple):
    """What may be said."""

    kind: str  # better, worse, equal, not_resolved, not_comparable or none
    words: str


class Question(NamedTuple):
    """What the study wanted to know, as far as a verdict depends on it."""

    metric: str
    claim: str
    equal_within: float | None  # AP points
    until: float | None  # half width in AP points
    images: int
    seeds: int


def verdict(
    found: Difference | None,
    *,
    metric: str = "AP",
    claim: str = "new_pictures",
    equal_within: float | None = None,
    until: float | None = None,
    images: int,
    asked: int,
    trouble: str = "",
    seeds: int | None = None,
) -> Verdict:
    """The verdict about a variant less its baseline.

    Args:
        found: None where fewer than two seeds have the metric in both.
        metric: of which `found` is, the study's primary one.
        equal_within: AP points below which a difference is of no interest; None: never "equal".
        until: half width that the study wants; None: it has no wish.
        images: how many pictures were measured.
        asked: how many seeds the study wanted.
        trouble: why there is no verdict, "not comparable: epochs 30 and 36" or "diverged with 1
            of 5 seeds"; empty where there may be one.
        seeds: how many seeds have the metric in both, where `found` is None.
    """
    if trouble:
        return Verdict(
            "not_comparable" if trouble.startswith("not comparable") else "none", trouble
        )
    if found is None:
        if seeds == asked == 1:
            return Verdict("none", "no verdict: one run has no interval")
        count = f"{seeds}" if seeds is not None else "fewer than 2"
        return Verdict("none", f"no verdict: {count} of {asked} seeds")
    question = Question(metric, claim, equal_within, until, images, asked)
    if all(gap == 0 for gap in found.per_seed):
        return Verdict("none", "identical in all seeds: nothing changed, or neither has learnt")
    if _claimed(found, claim).se < NO_SCATTER or found.these.se < NO_SCATTER:
        gap = _number(found.mean, found.mean)
        words = f"no verdict: {gap} {metric} in each of {_runs(found, question)}, without scatter"
        return Verdict("none", words)
    return _resolved(found, question) or _unresolved(found, question)


def foreseen(kind: str, expect: str | None) -> str:
    """How a verdict stands to what was said beforehand, to be added to its words.

    Args:
        kind: of the verdict.
        expect: better or worse; None: nothing was said.
    """
    if expect is None or kind in ("none", "not_comparable"):
        return ""
    if kind == expect:
        return "; as expected"
    return f"; expected {expect}" + (", found the contrary" if kind in ("better", "worse") else "")


def _resolved(found: Difference, asked: Question) -> Verdict | None:
    """Better, worse or equal, where one of them is shown."""
    within = _claimed(found, asked.claim)
    p = found.p if found.p_adjusted is None else found.p_adjusted
    if p < LARGEST_P and (within.low > 0 or within.high < 0):
        kind = "better" if found.mean > 0 else "worse"
        gap = _number(abs(found.mean), found.mean)
        return Verdict(kind, f"{kind} by {gap} {asked.metric} ({_told(within, found, asked)})")
    if asked.equal_within is not None and tost(found, asked.equal_within, asked.claim):
        told = _told(equivalence(found, asked.claim), found, asked, percent=90)
        return Verdict("equal", f"equal within ±{asked.equal_within:g} {asked.metric} ({told})")
    return None


def _unresolved(found: Difference, asked: Question) -> Verdict:
    within = _claimed(found, asked.claim)
    words = f"not resolved: {_range(within)} {asked.metric} (95 %; {_basis(found, asked)})"
    if within.low > 0 or within.high < 0:
        words += f"; p {_p(found.p_adjusted)} when adjusted for the other variants"
    return Verdict("not_resolved", words + _advice(found, asked))


def _advice(found: Difference, asked: Question) -> str:
    """What would narrow the interval to what the study wants."""
    wanted = asked.until if asked.until is not None else asked.equal_within
    if wanted is None:
        return ""
    if _claimed(found, asked.claim).half <= wanted:
        return f"; as narrow as asked (±{wanted:g})"
    low, high = more_seeds(found, wanted, asked.claim)
    if low is None:
        best, more = pictures_half(found), pictures_needed(found, wanted, asked.images)
        return (
            f"; more seeds lead to ±{_number(best, best)} at best, set by the {asked.images} "
            f"pictures (about {_rounded(more)} for ±{wanted:g})"
        )
    if high is None:
        return f"; about {low} more seeds or far more for ±{wanted:g}"
    count = f"{low}" if low == high else f"{low} to {high}"
    return f"; about {count} more seed{'' if high == 1 else 's'} for ±{wanted:g}"


def _claimed(found: Difference, claim: str) -> Interval:
    return found.these if claim == "these_pictures" else found.new


def _told(within: Interval, found: Difference, asked: Question, percent: int = 95) -> str:
    return f"{percent} %: {_range(within)}; {_basis(found, asked)}"


def _basis(found: Difference, asked: Question) -> str:
    return f"{_runs(found, asked)}, {asked.claim.replace('_', ' ')}"


def _runs(found: Difference, asked: Question) -> str:
    count = len(found.seeds)
    return f"{count} of {asked.seeds} seeds" if count < asked.seeds else f"{count} seeds"


def _range(within: Interval) -> str:
    nearest = min(abs(within.low), abs(within.high))
    return f"{_number(within.low, nearest)} to {_number(within.high, nearest)}"


def _number(value: float, smallest: float) -> str:
    """With one decimal, or so many that the smallest number beside it does not read as 0."""
    digits = next((d for d in (1, 2, 3) if abs(smallest) >= 0.5 * 10**-d), 4)
    return fixed(value, digits)


def _p(value: float | None) -> str:
    return "1" if value is None else f"{value:.2g}"


def _rounded(count: int) -> str:
    """A count to two digits, upwards: it is known no better."""
    unit = 10 ** max(len(str(count)) - 2, 0)
    return f"{-(-count // unit) * unit}"
