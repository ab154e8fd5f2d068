"""Convolutions whose bf16 gradient oneDNN gets wrong on a CPU are computed in float32."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

import detectors
from detectors.classification.classifier import Classifier
from detectors.layers.progress import tell
from detectors.necks.extra_levels import halving
from detectors.ops.convolution import narrow_in_float32
from detectors.structures import FeatureSpec
from tests.examples import START, targets

BF16 = torch.bfloat16


class Convolutions(TorchDispatchMode):
    """Notes (input type, height, width, kernel, stride) of each convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[torch.dtype, int, int, int, int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default and not args[6]:  # not transposed
            kernel, stride = max(args[1].shape[-2:]), max(args[3])
            self.seen.append((args[0].dtype, *args[0].shape[-2:], kernel, stride))
        return func(*args, **(kwargs or {}))

    def narrow(self) -> list[torch.dtype]:
        """Types of those on a map one pixel wide or high, strided and with a larger kernel."""
        return [d for d, h, w, kernel, stride in self.seen if min(h, w) == 1 < min(kernel, stride)]


def poison() -> None:
    """Leave large and no numbers in memory that is freed."""
    huge, nothing = torch.full((3_000_000,), 1e30), torch.full((1_200_000,), torch.nan, dtype=BF16)
    del huge, nothing


@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1)])
def test_gradients_do_not_come_from_freed_memory(size: tuple[int, int]) -> None:
    """P7 of RetinaNet from P6; on processors with AMX the bf16 gradient was anything."""
    layer = halving(256, 256)
    image = torch.randn(2, 256, *size)
    wanted = torch.autograd.grad(layer(image).square().sum(), layer.conv.weight)[0]
    for _ in range(4):
        poison()
        with torch.autocast("cpu", BF16), narrow_in_float32():
            output = layer(image.bfloat16()).float()
        found = torch.autograd.grad(output.square().sum(), layer.conv.weight)[0]
        assert (found - wanted).abs().max() < 0.05 * wanted.abs().max()


# Families at a size, or with a long thin picture, at which a strided convolution sees one pixel.
NARROW = [
    ("retinanet", [64, 64]),
    ("yolov4", [16, 48]),
    ("retinanet", [64, 320]),
    ("retinanet_v2", [64, 64]),
    ("fcos", [320, 64]),
    ("yolov3", [16, 16]),
]
WIDE = [("faster_rcnn", [64, 64]), ("ssd300", [300, 300]), ("centernet", [64, 64])]


@pytest.mark.parametrize(
    ("family", "canvas"),
    [*NARROW[:2], *(pytest.param(*case, marks=pytest.mark.slow) for case in NARROW[2:] + WIDE)],
)
def test_of_a_family_no_narrow_strided_convolution_is_bf16(family: str, canvas: list) -> None:
    """Without values: shapes and types are all that counts."""
    convolutions = trained_without_values(family, canvas)
    assert BF16 in {dtype for dtype, *_ in convolutions.seen}
    assert BF16 not in convolutions.narrow()
    assert bool(convolutions.narrow()) == ((family, canvas) in NARROW)


def trained_without_values(family: str, canvas: list[int]) -> Convolutions:
    """The convolutions of a training step in bf16 on the CPU."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        words = ["size=small", f"image_size={canvas}"]
        detector = detectors.build(family, words, num_classes=2)
        tell(detector, START)
        images = torch.zeros(2, 3, *canvas, dtype=torch.uint8)
        with Convolutions() as seen, torch.autocast("cpu", BF16):
            detector.loss(images, targets([(0, 5, 5, 20, 20)], []))
    return seen


class TwoHalvings(nn.Sequential):
    """A backbone of two convolutions."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 2, 1))
        self.specs = [FeatureSpec(4, 4)]

    def forward(self, images: Tensor) -> list[Tensor]:
        return [super().forward(images)]


def test_a_classifier_does_the_same() -> None:
    classifier = Classifier(TwoHalvings(), 2, [0.0] * 3, [1.0] * 3)
    with Convolutions() as convolutions, torch.autocast("cpu", BF16):
        classifier(torch.zeros(1, 3, 2, 2))
    assert [dtype for dtype, *_ in convolutions.seen] == [BF16, torch.float32, BF16]


def test_all_else_is_computed_as_ever() -> None:
    """Other kernels, strides and maps, other types, and whatever needs no gradient."""
    weight, bias = torch.randn(4, 3, 3, 3), torch.randn(4)

    def seen(image: Tensor, weight: Tensor, **options: object) -> torch.dtype:
        with Convolutions() as convolutions, narrow_in_float32():
            F.conv2d(image, weight, bias, **options)
        return convolutions.seen[0][0]

    one, two = torch.randn(1, 3, 1, 1), torch.randn(1, 3, 2, 2)
    with torch.autocast("cpu", BF16):
        assert seen(one, weight, stride=2, padding=1) == torch.float32
        assert seen(one, weight, stride=(1, 2), padding=1) == torch.float32
        assert seen(one, weight, padding=1) == BF16
        assert seen(two, weight, stride=2, padding=1) == BF16
        assert seen(one, weight[..., :1, :1], stride=2) == BF16
        with torch.no_grad():
            assert seen(one, weight, stride=2, padding=1) == BF16


def test_a_step_stays_one_graph() -> None:
    layer = halving(4, 4)

    def step(image: Tensor) -> Tensor:
        with narrow_in_float32():
            return layer(image).sum()

    torch._dynamo.reset()
    image = torch.randn(1, 4, 1, 1)
    with torch.autocast("cpu", BF16):
        found = torch.compile(step, fullgraph=True, backend="eager")(image)
        assert torch.equal(found, step(image))
