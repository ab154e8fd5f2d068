"""The sum over classes, computed in pieces, and its slope are those of the formula."""

import pytest
import torch
from torch import Tensor

from detectors.ops import denying as module
from detectors.ops.denying import denying, sum_of_denying


def with_slope(call, logits: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    logits = logits.detach().requires_grad_()
    found = call(logits)
    (slope,) = torch.autograd.grad((found * weights).sum(), logits)
    return found.detach(), slope


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("piece", [1, 40, 2**15])
@pytest.mark.parametrize("shape", [(2, 33, 7), (1, 1, 1), (3, 0, 5)])
def test_pieces_are_the_whole(
    monkeypatch: pytest.MonkeyPatch, gamma: float, piece: int, shape: tuple[int, ...]
) -> None:
    monkeypatch.setattr(module, "PIECE", piece)
    draw = torch.Generator().manual_seed(0)
    logits = 6 * torch.randn(shape, generator=draw, dtype=torch.float64)
    logits.flatten()[:6] = torch.tensor([-90.0, 90.0, 0.0, -25.0, 25.0, 1e-9])[: logits.numel()]
    weights = torch.rand(shape[:-1], generator=draw, dtype=torch.float64)
    whole = with_slope(lambda x: denying(x, gamma).sum(-1), logits, weights)
    found = with_slope(lambda x: sum_of_denying(x, gamma), logits, weights)
    torch.testing.assert_close(found, whole, rtol=1e-9, atol=1e-11)  # the clamp has no slope there


def test_the_slope_is_that_of_finite_differences() -> None:
    logits = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: sum_of_denying(x, 2.0), logits)


def test_rows_that_do_not_lie_side_by_side() -> None:
    logits, weights = torch.randn(2, 4, 6).transpose(1, 2), torch.rand(2, 6)
    whole = with_slope(lambda x: denying(x, 2.0).sum(-1), logits, weights)
    found = with_slope(lambda x: sum_of_denying(x, 2.0), logits, weights)
    torch.testing.assert_close(found, whole)


def test_without_a_slope_it_is_the_sum_itself() -> None:
    logits = torch.randn(3, 4)
    assert torch.equal(sum_of_denying(logits, 2.0), denying(logits, 2.0).sum(-1))
