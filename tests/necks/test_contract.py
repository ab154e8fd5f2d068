"""Every neck of `conf/neck` keeps the contract."""

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from detectors.config.compose import compose
from detectors.config.paths import CONF
from detectors.structures import FeatureSpec

ONE_SIZE = {"extras_ssd300", "extras_ssd512"}  # made for one image size, as their families
CHOICES = sorted({path.stem for path in (CONF / "neck").glob("*.yaml")} - ONE_SIZE)
# Of the layers of bifpn_efficientdet, csp_pan and topdown_spp.
TRACED_ALIKE = {"bifpn", "bifpn_sum", "pan", "topdown", "topdown_tiny"}
TRACED_ALIKE |= {  # in a family of tests/test_models.py
    *("csp_pan", "deconv", "extras", "fpn", "fpn_c5", "fpn_c5_linear", "fpn_p5", "fpn_p5_linear"),
    *("fpn_pool", "passthrough"),
}
LEADS_NOWHERE = {"deconv", "deconv_dcn", "dla_up", "extras", "identity"}  # from a level to others
SPECS = [FeatureSpec(8, 8), FeatureSpec(16, 16), FeatureSpec(32, 32)]


def _features(height: int, width: int) -> list[Tensor]:
    return [torch.randn(2, c, -(-height // s), -(-width // s)) for c, s in SPECS]


def made(name: str, specs: list[FeatureSpec]) -> nn.Module:
    torch.manual_seed(0)
    node = compose([f"neck={name}", "norm=batch", "act=leaky", "priors=points"]).part.neck
    if "repeats" in node:  # of the same cell
        node.repeats = 1
    return instantiate(node, _convert_="all")(specs)


@pytest.fixture(scope="module", params=CHOICES)
def neck(request: pytest.FixtureRequest) -> nn.Module:
    return made(request.param, SPECS)


@pytest.mark.parametrize("name", CHOICES)
def test_stacked_levels_of_one_size_are_refused_where_a_path_leads_up(name: str) -> None:
    stack = [FeatureSpec(8, 8)] * 2
    if name in LEADS_NOWHERE:
        outputs = made(name, stack)([torch.randn(1, 8, 8, 8)] * 2)
        assert all(output.isfinite().all() for output in outputs)
    else:
        with pytest.raises(ValueError, match=r"strides \[8, 8|strides differ"):
            made(name, stack)


def test_specs_promise_what_is_delivered(neck: nn.Module) -> None:
    outputs = neck(_features(128, 192))
    for spec, output in zip(neck.specs, outputs, strict=True):
        size = (-(-128 // spec.stride), -(-192 // spec.stride))
        assert output.shape == (2, spec.channels, *size)


def test_levels_get_coarser(neck: nn.Module) -> None:
    strides = [spec.stride for spec in neck.specs]
    assert strides == sorted(set(strides))


def test_any_image_size_will_do(neck: nn.Module) -> None:
    outputs = neck(_features(72, 104))
    assert len(outputs) == len(neck.specs)
    assert all(output.isfinite().all() for output in outputs)


def test_every_parameter_learns_in_bfloat16(neck: nn.Module) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        outputs = neck([f.to(memory_format=torch.channels_last) for f in _features(64, 96)])
    sum(output.float().square().mean() for output in outputs).requires_grad_().backward()
    assert all(parameter.grad is not None for parameter in neck.parameters())


@pytest.mark.parametrize(
    "neck",
    [pytest.param(c, marks=[pytest.mark.slow] * (c in TRACED_ALIKE)) for c in CHOICES],
    indirect=True,
)
def test_is_one_graph(neck: nn.Module) -> None:
    features = _features(64, 96)
    torch._dynamo.reset()
    compiled = torch.compile(neck.eval(), fullgraph=True, backend="eager")
    for found, expected in zip(compiled(features), neck(features), strict=True):
        assert torch.equal(found, expected)
