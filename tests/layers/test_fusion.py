import pytest
import torch

from detectors.layers.fusion import UnweightedSum, WeightedSum


def test_fast_normalised_fusion_is_the_papers() -> None:
    """EfficientDet, sec. 3.3: a negative weight counts as none."""
    fusion = WeightedSum(3)
    fusion.weights.data = torch.tensor([1.0, 2.0, -5.0])
    inputs = [torch.full((2, 2), value) for value in (3.0, 6.0, 100.0)]
    expected = (1 * 3 + 2 * 6) / (1 + 2 + 1e-4)
    assert fusion(inputs)[0, 0].item() == pytest.approx(expected, rel=1e-6)


def test_starts_as_the_mean_and_stays_finite_without_any_weight() -> None:
    inputs = [torch.ones(1), 3 * torch.ones(1)]
    fusion = WeightedSum(2)
    assert fusion(inputs).item() == pytest.approx(2, rel=1e-4)
    fusion.weights.data = torch.tensor([-1.0, -1.0])
    assert fusion(inputs).item() == 0


def test_a_plain_sum_learns_nothing() -> None:
    fusion = UnweightedSum(3)
    assert fusion([torch.tensor([1.0, 2.0]), torch.ones(2), torch.ones(2)]).tolist() == [3.0, 4.0]
    assert not list(fusion.parameters())
