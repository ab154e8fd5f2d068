"""NeighbourGrouping by a double loop."""

import numpy as np
import pytest

from detectors.fitted.grouping import grouped


def _alike(a: list[int], b: list[int]) -> bool:
    most = 0.2 * (min(a[2], b[2]) + min(a[3], b[3])) * 0.5
    ends = ((a[i] + a[i + 2]) - (b[i] + b[i + 2]) for i in range(2))
    return all(abs(d) <= most for d in (a[0] - b[0], a[1] - b[1], *ends))


def _by_loops(boxes: list[list[int]], neighbours: int) -> list[tuple[list[int], int]]:
    group = list(range(len(boxes)))
    for i, a in enumerate(boxes):
        for j, b in enumerate(boxes):
            if _alike(a, b):
                group = [group[i] if g == group[j] else g for g in group]
    means = []
    for g in dict.fromkeys(group):
        members = [box for box, of in zip(boxes, group, strict=True) if of == g]
        share = np.float32(1) / np.float32(len(members))
        mean = [int(np.rint(np.float32(sum(side)) * share)) for side in zip(*members, strict=True)]
        means.append((mean, len(members)))
    return [
        (a, n)
        for i, (a, n) in enumerate(means)
        if n > neighbours
        and not any(
            i != j and m > neighbours and (m > max(3, n) or n < 3) and _inside(a, b)
            for j, (b, m) in enumerate(means)
        )
    ]


def _inside(a: list[int], b: list[int]) -> bool:
    dx, dy = round(b[2] * 0.2), round(b[3] * 0.2)
    across = b[0] - dx <= a[0] and a[0] + a[2] <= b[0] + b[2] + dx
    return across and b[1] - dy <= a[1] and a[1] + a[3] <= b[1] + b[3] + dy


@pytest.mark.parametrize("neighbours", [1, 2, 3, 4])
def test_groups_are_those_of_loops(neighbours: int) -> None:
    generator = np.random.default_rng(neighbours)
    centres = generator.integers(20, 140, (6, 2)).repeat(9, axis=0)
    sides = generator.choice([12, 30, 60], 6).repeat(9)[:, None] + generator.integers(
        -2, 3, (54, 2)
    )
    corners = centres - sides // 2 + generator.integers(-3, 4, (54, 2))
    boxes = generator.permutation(np.concatenate([corners, sides], axis=1))
    found = grouped(boxes, neighbours)
    expected = _by_loops(boxes.tolist(), neighbours)
    assert expected
    assert found.boxes.tolist() == [box for box, _ in expected]
    assert found.counts.tolist() == [count for _, count in expected]
    for number, (box, count) in enumerate(zip(found.boxes, found.counts, strict=True)):
        members = boxes[found.group == number]
        assert len(members) == count
        np.testing.assert_allclose(members.mean(axis=0), box, atol=0.51)


def test_a_small_group_inside_a_larger_one_is_dropped() -> None:
    outer, inner = [[10, 10, 50, 50]] * 5, [[25, 25, 12, 12]] * 4
    assert grouped(np.array(outer + inner)).boxes.tolist() == [[10, 10, 50, 50]]
    assert len(grouped(np.array(outer + inner * 2)).boxes) == 2


def test_without_neighbours_each_window_stays() -> None:
    boxes = np.array([[1, 2, 3, 4], [1, 2, 3, 4]])
    found = grouped(boxes, neighbours=0)
    assert found.boxes.tolist() == boxes.tolist()
    assert grouped(boxes[:0]).boxes.shape == (0, 4)
    assert grouped(boxes, 3).boxes.shape == (0, 4)
