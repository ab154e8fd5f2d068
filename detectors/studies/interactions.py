"""Weights of variants that give main effects and interactions of a design of switches."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from detectors.studies.design import Variant, named


class Contrast(NamedTuple):
    """A sum of variants that measures one effect."""

    name: str  # "mosaic", "model=fcos", "mosaic x ema"
    factors: tuple[str, ...]  # one for a main effect, two for an interaction
    weights: Mapping[str, float]  # by variant; they add up to 0


def contrasts(variants: Sequence[Variant]) -> list[Contrast]:
    """Every main effect and every interaction of two that the variants can measure.

    A main effect is the mean with the switch on less that with it off. An interaction is the effect
    of one with the other on, less that with the other off: twice what Box and Hunter (1961) call
    it, so that it can be added to an effect. Of a factor each level is compared with the first.

    Args:
        variants: baseline first, each with a level of the same factors.
    """
    first = variants[0].levels
    others = {
        factor: [x for x in dict.fromkeys(v.levels[factor] for v in variants) if x != first[factor]]
        for factor in first
    }
    mains = [
        Contrast(named(f, level), (f,), _weights(variants, [(f, first[f], level)]))
        for f in first
        for level in others[f]
    ]
    return [*mains, *_pairs(variants, others)]


def _pairs(variants: Sequence[Variant], others: Mapping[str, list[str]]) -> Iterator[Contrast]:
    first = variants[0].levels
    for a, b in itertools.combinations(first, 2):
        for one, two in itertools.product(others[a], others[b]):
            weights = _weights(variants, [(a, first[a], one), (b, first[b], two)])
            if weights:
                yield Contrast(f"{named(a, one)} x {named(b, two)}", (a, b), weights)


def _weights(
    variants: Sequence[Variant], factors: Sequence[tuple[str, str, str]]
) -> dict[str, float]:
    """Of each combination of levels one share, positive where an even number is at the first.

    Empty where a combination has no variant: then the effect cannot be told.
    """
    cells: dict[tuple[bool, ...], list[str]] = {}
    for variant in variants:
        if all(variant.levels[name] in (off, on) for name, off, on in factors):
            cell = tuple(variant.levels[name] == on for name, _, on in factors)
            cells.setdefault(cell, []).append(variant.name)
    if len(cells) < 2 ** len(factors):
        return {}
    return {
        name: (-1) ** (len(factors) - sum(cell)) / len(names)
        for cell, names in cells.items()
        for name in names
    }
