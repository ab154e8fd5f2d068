"""Rows are selected by index and at random."""

from itertools import combinations

import torch

from detectors.ops.selection import gather_rows, random_subset


def test_rows_are_gathered_image_by_image() -> None:
    values, index = torch.randn(3, 7, 2, 4), torch.randint(7, (3, 5))
    expected = torch.stack([rows[chosen] for rows, chosen in zip(values, index, strict=True)])
    assert torch.equal(gather_rows(values, index), expected)


def test_one_batch_row_serves_all_images() -> None:
    values, index = torch.randn(1, 7, 4), torch.randint(7, (3, 5))
    assert torch.equal(gather_rows(values, index), values[0][index])


def test_exactly_as_many_as_wanted_or_as_there_are() -> None:
    mask = torch.rand(200, 30) < torch.rand(200, 1)
    count = torch.randint(13, (200,))
    chosen = random_subset(mask, 12, count)
    assert torch.equal(chosen.sum(1), count.minimum(mask.sum(1)))
    assert not (chosen & ~mask).any()


def test_more_wanted_than_rows() -> None:
    mask = torch.tensor([[True, False, True]])
    assert torch.equal(random_subset(mask, 10, torch.tensor([10])), mask)


def test_every_pair_is_alike_likely() -> None:
    """15 pairs of 6 rows in 6,000 draws: 400 each, standard deviation 19.3."""
    mask = torch.tensor([True, False, True, True, False, True, True, True])
    chosen = random_subset(mask.expand(6000, 8), 3, torch.full((6000,), 2))
    rows = mask.nonzero().flatten().tolist()
    counts = torch.tensor([(chosen[:, a] & chosen[:, b]).sum() for a, b in combinations(rows, 2)])
    assert ((counts - 400).abs() < 5 * 19.3).all()
