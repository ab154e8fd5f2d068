"""Chooses which combinations of two-level switches a fractional factorial design runs."""

import itertools
import math
import string

import numpy as np
from pyDOE3 import fracfact


def fraction(count: int, runs: int | None = None) -> np.ndarray:
    """A regular fraction of resolution IV or more that holds the combination "all off".

    The first k switches take all combinations. Each other one is a product of three or more of
    these, so that no effect of one switch is mixed up with an interaction of two (Box and Hunter
    1961). Products of an even number are negated: then the row in which all are off is there.

    Args:
        count: switches.
        runs: a power of 2; None: the fewest.

    Returns:
        [runs, count] of booleans, "all off" first. All 2^count combinations where there is no
        fraction of resolution IV: for three switches or fewer.

    Raises:
        ValueError: so many runs make no such fraction; names those that do.
    """
    possible = [2**k for k in range(1, count + 1) if count <= _most(k)]
    if runs is not None and runs not in possible:
        raise ValueError(
            f"fraction: found {runs}, but {count} switches have fractions of resolution IV with "
            f"{', '.join(map(str, possible))} runs"
        )
    base = int(math.log2(runs or possible[0]))
    letters = string.ascii_letters[:base]
    if base == count:
        return np.array(list(itertools.product([False, True], repeat=count)))
    sizes = range(base, 2, -1) if count == base + 1 else _odd(base)
    products = ["".join(p) for size in sizes for p in itertools.combinations(letters, size)]
    chosen = products[: count - base]
    signed = [*letters, *(word if len(word) % 2 else f"-{word}" for word in chosen)]
    design = fracfact(" ".join(signed)) > 0
    return design[np.argsort(design.any(1), kind="stable")]


def _odd(base: int) -> list[int]:
    """Lengths of the products that may be taken together: two of these never give one of two."""
    return [size for size in range(3, base + 1) if size % 2]


def _most(base: int) -> int:
    """Switches that fit in 2^base runs at resolution IV: all products of an odd number."""
    return 2 ** (base - 1) if base > 2 else base


def aliases(design: np.ndarray, names: list[str]) -> list[str]:
    """What the design cannot tell apart, of effects of one switch and of pairs.

    Args:
        design: [runs, switches] of booleans.
        names: of the switches.

    Returns:
        A line for each group: "a x b = c x d"; a minus where they have opposite signs.
    """
    signs = np.where(design, 1, -1)
    terms = [*((i,) for i in range(len(names))), *itertools.combinations(range(len(names)), 2)]
    groups: dict[bytes, list[tuple[str, int]]] = {}
    for term in terms:
        column = signs[:, term].prod(1).astype(np.int8)
        told = " x ".join(names[i] for i in term), int(column[0])
        groups.setdefault((column * column[0]).tobytes(), []).append(told)
    shared = [group for group in groups.values() if len(group) > 1]
    return [" = ".join(_signed(name, s * group[0][1]) for name, s in group) for group in shared]


def _signed(name: str, sign: int) -> str:
    return name if sign > 0 else f"-{name}"
