"""Hierarchical grouping: the two most alike neighbours become one, until one is left."""

import heapq
from collections.abc import Collection

import numpy as np

from detectors.data.proposals.regions import Segments, joined_boxes, rows, similarity


def grouped(
    regions: Segments, pairs: np.ndarray, members: Collection[str], pixels: int
) -> np.ndarray:
    """[2n - 1, 4] int64 boxes of all regions: those given, then each in the order it was made.

    Uijlings et al. 2013, algorithm 1. Of pairs that are equally alike, the one with the lower
    numbers is taken, where a new region has the next free number.

    Args:
        regions: n of them.
        pairs: [p, 2] neighbours, which connect all.
        members: similarities that are compared.
        pixels: of the picture.
    """
    count = len(regions.sizes)
    space = [np.concatenate([field, np.zeros_like(field[:-1])]) for field in regions]
    every = Segments(*space)
    beside = _adjacency(pairs, count)
    heap = _ranked(every, pairs, members, pixels)
    alive = [True] * count
    for new in range(count, 2 * count - 1):
        one, other = _most_alike(heap, alive)
        alive[one] = alive[other] = False
        alive.append(True)
        _merge(every, one, other, new)
        around = (beside[one] | beside[other]) - {one, other}
        beside.append(around)
        for number in around:
            beside[number] -= {one, other}
            beside[number].add(new)
        fresh = np.array([(number, new) for number in around], np.int64).reshape(-1, 2)
        for entry in _ranked(every, fresh, members, pixels):
            heapq.heappush(heap, entry)
    return every.boxes


def _adjacency(pairs: np.ndarray, count: int) -> list[set[int]]:
    beside: list[set[int]] = [set() for _ in range(count)]
    for one, other in pairs.tolist():
        beside[one].add(other)
        beside[other].add(one)
    return beside


def _ranked(
    every: Segments, pairs: np.ndarray, members: Collection[str], pixels: int
) -> list[tuple[float, int, int]]:
    """A heap of the pairs, the most alike on top."""
    first, second = rows(every, pairs[:, 0]), rows(every, pairs[:, 1])
    alike = similarity(first, second, members, pixels)
    heap = [(-s, one, other) for s, (one, other) in zip(alike, pairs.tolist(), strict=True)]
    heapq.heapify(heap)
    return heap


def _most_alike(heap: list[tuple[float, int, int]], alive: list[bool]) -> tuple[int, int]:
    """The best pair that is left; those of regions that were merged are thrown away."""
    while True:
        _, one, other = heapq.heappop(heap)
        if alive[one] and alive[other]:
            return one, other


def _merge(every: Segments, one: int, other: int, new: int) -> None:
    """Write the union of two regions into a row (ibid., equations 2 and 4)."""
    sizes, boxes, histograms = every
    sizes[new] = sizes[one] + sizes[other]
    boxes[new] = joined_boxes(boxes[[one]], boxes[[other]])[0]
    weighted = sizes[one] * histograms[one] + sizes[other] * histograms[other]
    histograms[new] = weighted / sizes[new]
