"""Two thin layers are the best of their rank, and follow the large one."""

import pytest
import torch
from torch import nn

import detectors
from detectors.layers.truncated import truncated
from detectors.structures import Proposals
from detectors.tta import TruncatedSVD


@pytest.mark.parametrize("shape", [(12, 20), (20, 12)])
def test_they_are_the_truncated_singular_value_decomposition(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(*shape)
    inner, outer = truncated(layer, 5)
    u, s, v = torch.linalg.svd(layer.weight.double(), full_matrices=False)
    expected = (u[:, :5] * s[:5]) @ v[:5]
    torch.testing.assert_close((outer.weight @ inner.weight).double(), expected, atol=1e-5, rtol=0)
    x = torch.randn(3, shape[0])
    wanted = x @ expected.T.float() + layer.bias
    torch.testing.assert_close(truncated(layer, 5)(x), wanted, atol=1e-5, rtol=0)


def test_they_are_found_once_until_the_weights_change() -> None:
    layer = nn.Linear(6, 8)
    first = truncated(layer, 3)
    assert truncated(layer, 3) is first
    with torch.no_grad():
        layer.weight.mul_(2)
    again = truncated(layer, 3)
    assert again is not first
    x = torch.randn(2, 6)
    twice = 2 * (first(x) - layer.bias) + layer.bias
    torch.testing.assert_close(again(x), twice, atol=1e-5, rtol=1e-5)


def test_a_rank_that_saves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="take fewer than 6"):
        truncated(nn.Linear(6, 8), 6)


def test_a_detector_is_asked_with_them_and_keeps_its_own() -> None:
    torch.manual_seed(0)
    words = ["size=small", "part.head.region_head.width=24"]
    detector = detectors.build("fast_rcnn", words, num_classes=2).eval()
    keys = list(detector.state_dict())
    images, frames = torch.rand(1, 3, 64, 64) * 255, torch.tensor([[0.0, 0.0, 64, 64]])
    boxes = torch.tensor([[[4.0, 4.0, 40.0, 50.0], [0.0, 0.0, 64.0, 64.0]]])
    given = Proposals(boxes, torch.ones(1, 2, dtype=torch.bool))
    thin = TruncatedSVD(detector, {"fc6": 20, "fc7": 8})
    assert list(detector.state_dict()) == keys
    region_head = detector.head.region_head
    fc6, fc7 = (truncated(layer, k) for layer, k in ((region_head.fc6, 20), (region_head.fc7, 8)))
    found = thin(images, frames, given)
    region_head.fc6, region_head.fc7 = fc6, fc7
    expected = detector(images, frames, given)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_model_without_such_layers_is_refused() -> None:
    with torch.device("meta"):
        detector = detectors.build("faster_rcnn", ["size=small"])
        with pytest.raises(ValueError, match="no linear layer is called fc6"):
            TruncatedSVD(detector, {"fc6": 1024})
