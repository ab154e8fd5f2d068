"""Pull and push equal loops over objects and their pairs."""

import pytest
import torch

from detectors.losses.tags import PullPush


def by_loops(first: list, second: list, real: list, margin: float) -> tuple[float, float]:
    """CornerNet, eqs. 4 and 5, of one image."""
    means = [(a + b) / 2 for a, b, there in zip(first, second, real, strict=True) if there]
    rows = [row for row, there in enumerate(real) if there]
    pull = sum(
        (first[row] - mean) ** 2 + (second[row] - mean) ** 2
        for row, mean in zip(rows, means, strict=True)
    )
    push = 0.0
    for k, one in enumerate(means):
        for j, other in enumerate(means):
            if j != k:
                push += max(0.0, margin - abs(one - other))
    count = len(means)
    return pull / max(count, 1), push / max(count * (count - 1), 1)


@pytest.mark.parametrize("margin", [1.0, 2.5])
def test_equals_loops_whatever_is_real(margin: float) -> None:
    """An image of four objects, one of one, one of none; padded rows hold anything."""
    first, second = torch.randn(3, 6), torch.randn(3, 6)
    first[0, 1], second[0, 1] = first[0, 0], second[0, 0]  # two objects of one tag
    real = torch.tensor([[1, 1, 0, 1, 0, 1], [0, 0, 1, 0, 0, 0], [0] * 6]).bool()
    images = zip(first.tolist(), second.tolist(), real.tolist(), strict=True)
    pulls, pushes = zip(*(by_loops(*image, margin) for image in images), strict=True)
    found = PullPush(pull=0.5, push=0.25, margin=margin)(first, second, real)
    assert found["pull"].item() == pytest.approx(0.5 * sum(pulls) / 3, rel=1e-5)
    assert found["push"].item() == pytest.approx(0.25 * sum(pushes) / 3, rel=1e-5)


def test_as_released_but_for_the_sum_over_images_and_a_constant() -> None:
    """The release takes a share of each object with itself away, all at once (kp_utils.py)."""
    first, second = torch.randn(2, 5, dtype=torch.float64), torch.randn(2, 5, dtype=torch.float64)
    real = torch.tensor([[1, 1, 1, 0, 1], [1, 0, 0, 0, 0]]).bool()
    count = real.double().sum(1)
    mean = (first + second) / 2
    apart = (1 - (mean[:, :, None] - mean[:, None]).abs()).relu()
    share = 1 / (count + 1e-4)
    pairs = real[:, :, None] & real[:, None]
    pushes = ((apart - share[:, None, None]) * pairs).sum((1, 2)) / (count * (count - 1) + 1e-4)
    assert pushes[1].item() == pytest.approx(1.0, abs=1e-3)  # the constant of one object
    found = PullPush(pull=1.0, push=2.0)(first, second, real)
    torch.testing.assert_close(found["push"].double(), pushes[0], rtol=1e-3, atol=1e-4)


def test_images_without_objects_cost_nothing_and_teach_nothing() -> None:
    first = torch.tensor([[float("1e30"), 2.0]], requires_grad=True)
    found = PullPush(0.1, 0.1)(first, first.detach(), torch.zeros(1, 2, dtype=torch.bool))
    assert found["pull"] == found["push"] == 0
    sum(found.values()).backward()
    assert first.grad is not None
    assert (first.grad == 0).all()
