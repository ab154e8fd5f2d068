"""Folded batch norms give what they gave, in all families, and what cannot be folded stays."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.layers.fused import fold_batch_norms
from detectors.layers.norm import FrozenBatchNorm
from tests.examples import THIN

# YOLOv1 and SSD have none.
FAMILIES = ("yolov2", "yolov3", "yolov4", "retinanet", "faster_rcnn", "centernet", "fcos")
SIDE = 96


def lively(network: nn.Module) -> nn.Module:
    """With norms of their own in every channel, and weights that keep the variance."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | FrozenBatchNorm):
            for field, low, high in (
                *(("weight", 0.8, 1.2), ("bias", -0.2, 0.2)),
                *(("running_mean", -0.2, 0.2), ("running_var", 0.5, 1.5)),
            ):
                getattr(module, field).data.uniform_(low, high, generator=generator)
        elif isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            fan = module.weight[0].numel()
            module.weight.data.normal_(std=(2 / fan) ** 0.5, generator=generator)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d | FrozenBatchNorm) for m in network.modules())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fused_detector_gives_the_same(family: str) -> None:
    words = ["size=small", f"image_size={SIDE}", *THIN.get(family, [])]
    detector = detectors.build(family, words, num_classes=3)
    lively(detector)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    images = torch.randint(0, 256, (2, 3, SIDE, SIDE), dtype=torch.uint8)
    fused = detector.fused(images)
    assert (norms(detector) > 0, norms(fused)) == (True, 0)
    frames = torch.tensor([[0.0, 0.0, SIDE, SIDE]]).repeat(2, 1)
    with torch.no_grad():
        for one, other in zip(fused.features(images), detector.features(images), strict=True):
            assert (one - other).abs().max() <= 1e-5 * other.abs().max()
        if family != "faster_rcnn":  # whose proposals may change their order
            # Folded in float32; but how far random networks carry its rounding is the processor's.
            wide = [copy.deepcopy(each).double() for each in (fused, detector)]
            found, expected = (each.candidates(images, frames) for each in wide)
            torch.testing.assert_close(found.scores, expected.scores, rtol=1e-4, atol=1e-4)
            scale = expected.boxes.abs().amax(-1, keepdim=True).clamp(min=SIDE)  # up to 2e6 px
            assert ((found.boxes - expected.boxes).abs() <= 1e-5 * scale).all()
    after = detector.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


class Net(nn.Module):
    """A convolution whose output goes two ways, one with two norms, and one with its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.shared, self.last = (nn.Conv2d(3, 3, 1) for _ in range(3))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norms[0](torch.relu(self.first(x)))  # not behind the convolution itself
        x = self.norms[1](self.shared(x)) + self.norms[2](self.shared(x))
        return self.norms[3](self.last(x))


def inplace(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    return norm(torch.relu_(conv(x)))


def added(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    y = conv(x)
    y += x
    return norm(y)


def elsewhere(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    y = conv(x)
    return norm(y) + y


def hooked(conv: nn.Conv2d, norm: nn.Module, x: Tensor) -> Tensor:
    if not conv._forward_hooks:
        conv.register_forward_hook(lambda *call: call[-1] * 2)
    return norm(conv(x))


class Own(nn.BatchNorm2d):
    """A norm of one's own, which does something else."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input) * 2


@pytest.mark.parametrize("use", [inplace, added, elsewhere, hooked])
def test_what_more_than_a_norm_takes_stays(use: Callable[..., Tensor]) -> None:
    net = nn.ModuleList([nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)])
    lively(net)
    images = torch.rand(2, 3, 4, 4)
    expected = use(*net, images)
    assert fold_batch_norms(net, lambda: use(*net, images)) == 0
    torch.testing.assert_close(use(*net, images), expected)


def test_layers_used_twice_or_of_ones_own_stay_right() -> None:
    conv, norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
    for net, folded in (
        (nn.Sequential(conv, norm, nn.ReLU(), conv, norm), 1),
        (nn.Sequential(nn.Conv2d(3, 3, 1), Own(3)), 0),
    ):
        lively(net)
        images = torch.rand(2, 3, 4, 4)
        expected = net(images)
        assert fold_batch_norms(net, lambda n=net, x=images: n(x)) == folded
        torch.testing.assert_close(net(images), expected)


def test_only_a_norm_with_a_convolution_of_its_own_is_folded() -> None:
    net = Net()
    lively(net)
    images = torch.rand(1, 3, 4, 4)
    expected = net(images)
    assert fold_batch_norms(net, lambda: net(images)) == 1
    assert [isinstance(norm, nn.Identity) for norm in net.norms] == [False, False, False, True]
    torch.testing.assert_close(net(images), expected)
    assert fold_batch_norms(net, lambda: net(images)) == 0
