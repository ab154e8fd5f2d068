"""A verdict says what was shown in fixed words, and the package has no word that says more."""

import re
from pathlib import Path

import numpy as np
import pytest

import detectors.studies
from detectors.studies.effects import Difference, difference
from detectors.studies.verdict import foreseen, verdict

CLEAR = (1.0, 1.2, 1.4, 1.1, 1.3)  # mean 1.2, se 0.0707
SMALL = (-0.1, 0.2, 0.0, 0.1, -0.05)
WIDE = (-1.0, 0.9, 0.3, -0.4, 1.4)


def gap(values: tuple[float, ...], pictures: float = 0.0, p: float | None = None) -> Difference:
    both = dict(enumerate(values)), dict.fromkeys(range(len(values)), 0.0)
    return difference(*both, pictures)._replace(p_adjusted=p)


CASES: list[tuple[str, Difference | None, dict, str, str]] = [
    (
        "better",
        gap(CLEAR),
        {},
        "better",
        "better by 1.2 AP (95 %: 1.0 to 1.4; 5 seeds, new pictures)",
    ),
    (
        "worse, of these pictures",
        gap(tuple(-v for v in CLEAR)),
        {"claim": "these_pictures", "metric": "AP50"},
        "worse",
        "worse by 1.2 AP50 (95 %: -1.4 to -1.0; 5 seeds, these pictures)",
    ),
    (
        "better by very little",
        gap(tuple(v / 40 for v in CLEAR)),
        {"equal_within": 0.5},
        "better",
        "better by 0.03 AP (95 %: 0.03 to 0.03; 5 seeds, new pictures)",
    ),
    (
        "a seed is missing",
        gap(CLEAR[:4]),
        {},
        "better",
        "better by 1.2 AP (95 %: 0.9 to 1.4; 4 of 5 seeds, new pictures)",
    ),
    (
        "equal",
        gap(SMALL),
        {"equal_within": 0.5},
        "equal",
        "equal within ±0.5 AP (90 %: -0.1 to 0.1; 5 seeds, new pictures)",
    ),
    (
        "equal is not asked",
        gap(SMALL),
        {},
        "not_resolved",
        "not resolved: -0.1 to 0.2 AP (95 %; 5 seeds, new pictures)",
    ),
    (
        "narrow enough",
        gap(SMALL),
        {"until": 0.5},
        "not_resolved",
        "not resolved: -0.1 to 0.2 AP (95 %; 5 seeds, new pictures); as narrow as asked (±0.5)",
    ),
    (
        "too wide",
        gap(WIDE),
        {"until": 0.5},
        "not_resolved",
        "not resolved: -1.0 to 1.4 AP (95 %; 5 seeds, new pictures); about 12 to 33 more seeds "
        "for ±0.5",
    ),
    (
        "adjusted",
        gap(CLEAR, p=0.125),
        {"until": 0.5},
        "not_resolved",
        "not resolved: 1.0 to 1.4 AP (95 %; 5 seeds, new pictures); p 0.12 when adjusted for the "
        "other variants; as narrow as asked (±0.5)",
    ),
    (
        "pictures alone",
        gap(WIDE, pictures=0.2),
        {"until": 0.5},
        "not_resolved",
        "not resolved: -1.1 to 1.6 AP (95 %; 5 seeds, new pictures); more seeds lead to ±0.9 at "
        "best, set by the 200 pictures (about 630 for ±0.5)",
    ),
    (
        "contract",
        gap(CLEAR),
        {"trouble": "not comparable: epochs 30 and 36"},
        "not_comparable",
        "not comparable: epochs 30 and 36",
    ),
    (
        "diverged",
        gap(CLEAR),
        {"trouble": "diverged with 1 of 5 seeds"},
        "none",
        "diverged with 1 of 5 seeds",
    ),
    ("no seeds", None, {}, "none", "no verdict: fewer than 2 of 5 seeds"),
    ("one seed", None, {"seeds": 1}, "none", "no verdict: 1 of 5 seeds"),
    (
        "a tie",
        gap((0.0,) * 5),
        {"equal_within": 0.5, "until": 0.5},
        "none",
        "identical in all seeds: nothing changed, or neither has learnt",
    ),
    (
        "no scatter",
        gap((0.5, 0.5, 0.5), pictures=0.01),
        {},
        "none",
        "no verdict: 0.5 AP in each of 3 of 5 seeds, without scatter",
    ),
]


@pytest.mark.parametrize(
    ("found", "said", "kind", "words"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)
def test_words(found: Difference | None, said: dict, kind: str, words: str) -> None:
    assert verdict(found, images=200, asked=5, **said) == (kind, words)


def test_no_resolved_verdict_reads_as_zero() -> None:
    """Whatever the size of the difference, both ends stand on the side that is claimed."""
    rng = np.random.default_rng(0)
    for scale in 10.0 ** rng.uniform(-3, 2, 200):
        found = gap(tuple(scale * (1 + rng.normal(0, 0.3, 5))))
        kind, words = verdict(found, images=200, asked=5)
        ends = re.search(r"95 %: (\S+) to (\S+);", words)
        if kind == "better":
            assert ends
            assert 0 < float(ends[1]) <= float(ends[2])


def test_no_word_claims_too_much() -> None:
    forbidden = re.compile(r"\bsignificant(ly)?\b|\bno difference\b|\boutperform", re.IGNORECASE)
    folder = Path(detectors.studies.__file__).parent
    files = [file for file in folder.rglob("*") if file.is_file() and file.suffix != ".pyc"]
    assert len(files) > 5
    for file in files:
        assert not (said := forbidden.search(file.read_text(encoding="utf-8"))), f"{file}: {said}"


@pytest.mark.parametrize(
    ("kind", "expect", "told"),
    [
        ("better", None, ""),
        ("none", "better", ""),
        ("not_comparable", "better", ""),
        ("worse", "worse", "; as expected"),
        ("worse", "better", "; expected better, found the contrary"),
        ("not_resolved", "better", "; expected better"),
        ("equal", "worse", "; expected worse"),
    ],
)
def test_a_verdict_is_held_against_what_was_expected(
    kind: str, expect: str | None, told: str
) -> None:
    assert foreseen(kind, expect) == told
