"""Fused optimisers clip, step and resume as others do, and leave float16's scaler alone."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.fused_steps import FusedSteps


class Lit(FusedSteps):
    """A module whose trainer has this precision."""

    def __init__(self, scaler: object) -> None:
        super().__init__()
        plugin = SimpleNamespace(scaler=scaler)
        self._trainer = SimpleNamespace(precision_plugin=plugin)

    @property
    def trainer(self) -> SimpleNamespace:  # type: ignore[override]
        return self._trainer


def optimizer(layer: nn.Module, name: str = "adamw") -> torch.optim.Optimizer:
    found = compose(["model=fcos", f"optimizer={name}"])
    network = nn.Module()
    network.backbone, network.rest = nn.Identity(), layer
    return instantiate(found, "optimizer")(network)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_ours_are_fused_and_step_as_the_plain_ones(name: str) -> None:
    torch.manual_seed(0)
    layer, same = nn.Linear(5, 3), nn.Linear(5, 3)
    same.load_state_dict(layer.state_dict())
    fused, plain = optimizer(layer, name), optimizer(same, name)
    for group in plain.param_groups:
        group["fused"] = False
    for _ in range(4):
        for one, other in zip(layer.parameters(), same.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        fused.step()
        plain.step()
    assert all(group["fused"] for group in fused.param_groups)
    torch.testing.assert_close(layer.weight, same.weight, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("kind", "expected"), [("norm", [0.6, 0.8]), ("value", [1.0, 1.0])])
def test_gradients_of_a_fused_optimiser_are_clipped(kind: str, expected: list[float]) -> None:
    layer = nn.Linear(1, 2, bias=False)
    layer.weight.grad = torch.tensor([[3.0], [4.0]])
    lit = Lit(scaler=None)
    lit.configure_gradient_clipping(lit.stepping(optimizer(layer)), 1.0, kind)
    torch.testing.assert_close(layer.weight.grad.flatten(), torch.tensor(expected))


def test_with_a_scaler_nothing_is_fused() -> None:
    given = Lit(scaler=object()).stepping(optimizer(nn.Linear(2, 2)))
    assert not any(group["fused"] for group in given.param_groups)
    assert not given._step_supports_amp_scaling  # type: ignore[attr-defined]
