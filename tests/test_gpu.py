"""On a GPU every family computes what it computes on the CPU."""

import pytest
import torch
from torch import Tensor

import detectors
from detectors.layers.progress import tell
from detectors.ops.suppression import fixed_point, greedy_iou
from detectors.postprocess import Greedy, Ranked
from detectors.structures import Priors, Targets
from tests.examples import FAMILIES, START

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU"),
]


def ranked(device: str) -> Ranked:
    draw = torch.Generator().manual_seed(0)
    corner, side = torch.rand(2, 2, 200, 2, generator=draw) * 60
    labels = torch.randint(0, 3, (2, 200), generator=draw)
    rank = torch.arange(200).expand(2, 200)
    empty = Priors(torch.zeros(1, 200, 4), torch.ones(200), (200,), (128, 128))
    boxes = torch.cat([corner, corner + side + 1], dim=-1)
    fields = (boxes, 1 - rank / 200, labels, rank % 7 > 0, rank)
    return Ranked(*(field.to(device) for field in fields), empty)


def test_suppression_is_that_of_the_cpu() -> None:
    suppress = Greedy(0.5)
    assert torch.equal(suppress(ranked("cuda")).valid.cpu(), suppress(ranked("cpu")).valid)


def test_operators_take_tensors_of_the_gpu() -> None:
    boxes, _, labels, valid, _, _ = ranked("cuda")
    assert greedy_iou(boxes, labels, valid, 0.5).is_cuda
    assert fixed_point(valid[:, :, None] & valid[:, None], valid).is_cuda


@pytest.mark.parametrize("family", FAMILIES)
def test_inference_and_gradients_are_finite_and_detections_those_of_the_cpu(family: str) -> None:
    size = ["size=small", "image_size=320"]
    size += ["head=two_stage_windows"] if family == "fast_rcnn" else []  # no file of proposals
    detector = detectors.build(family, size, num_classes=3).eval()
    images = torch.randint(0, 256, (2, 3, 320, 320), dtype=torch.uint8)
    with torch.no_grad():
        expected = detector(images).scores.sort(dim=1).values
        found = detector.cuda()(images.cuda()).scores.sort(dim=1).values
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-2, atol=1e-3)  # TF32 and other orders
    tell(detector, START)
    losses = detector.train().loss(images.cuda(), objects())
    torch.stack(list(losses.values())).sum().backward()
    assert all(p.grad.isfinite().all() for p in detector.parameters() if p.grad is not None)


def objects() -> Targets:
    def padded(values: list[list]) -> Tensor:
        return torch.tensor(values, device="cuda")

    return Targets(
        boxes=padded([[[20.0, 30.0, 90.0, 120.0], [0.0] * 4], [[0.0] * 4, [0.0] * 4]]),
        labels=padded([[1, 0], [0, 0]]),
        valid=padded([[True, False], [False, False]]),
        ignore=padded([[False, False], [False, False]]),
    )
