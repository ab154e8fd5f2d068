"""Operators of ours give the same in ONNX as in torch."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from detectors.export.onnx_forms import forms, not_above
from detectors.export.pooling import pooled_regions, weighted_rows
from detectors.ops.pooling import precise_pyramid
from detectors.ops.running import running_maximum
from detectors.ops.suppression import greedy_diou, greedy_iou
from tests.examples import random_boxes

STRIDES, CHANNELS, ROWS = [4, 8], 3, 80
LARGE = 4000.0  # mean of features, of which few digits are left in a sum of float32


class Operators(nn.Module):
    def forward(self, boxes: Tensor, groups: Tensor, valid: Tensor, fine: Tensor, coarse: Tensor):
        order = torch.sort(groups, dim=1, descending=True, stable=True).indices
        return (
            greedy_iou(boxes, groups, valid, 0.6),
            greedy_diou(boxes, groups, valid, 0.6, 0.6),
            pooled_regions([fine, coarse], boxes, STRIDES, 3, 2),
            order,
            nn.functional.mish(fine),
            running_maximum(fine, 2),
            running_maximum(coarse, 3, backwards=True),
            precise_pyramid([fine + LARGE, coarse + LARGE], boxes, STRIDES, 3, weighted_rows),
        )


def inputs(batch: int, share: float = 0.8) -> tuple[Tensor, ...]:
    boxes = random_boxes(batch, ROWS, canvas=64.0)
    boxes[:, 1::7] = boxes[:, ::7][:, : boxes[:, 1::7].shape[1]]  # some are there twice
    groups, valid = torch.randint(2, 5, (batch, ROWS)), torch.rand(batch, ROWS) < share
    maps = (30 * torch.randn(batch, CHANNELS, 64 // stride, 64 // stride) for stride in STRIDES)
    return boxes, groups, valid, *maps


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    batch = Dim("batch")
    made = torch.onnx.export(
        torch.export.export(Operators().eval(), inputs(2), dynamic_shapes=({0: batch},) * 5),
        opset_version=18,
        dynamo=True,
        verbose=False,
        custom_translation_table=forms(),
    )
    assert made is not None
    return onnxruntime.InferenceSession(made.model_proto.SerializeToString())


@pytest.mark.parametrize(("batch", "share"), [(1, 0.8), (3, 0.8), (2, 0.0), (2, 1.0)])
def test_operators_give_the_same_in_onnx(session, batch, share) -> None:
    given = inputs(batch, share)
    names = [node.name for node in session.get_inputs()]
    found = session.run(None, dict(zip(names, (g.numpy() for g in given), strict=True)))
    *exact, pooled, order, active, down, left, precise = Operators()(*given)
    for expected, kept in zip(exact, found, strict=False):
        assert np.array_equal(expected.numpy(), kept)
    for expected, largest in zip((down, left), found[5:7], strict=True):
        assert np.array_equal(expected.numpy(), largest)
    assert np.allclose(pooled.numpy(), found[2], atol=1e-4)
    assert np.allclose(precise.numpy(), found[7], rtol=0, atol=1e-3)  # sums reach 1e6
    assert np.array_equal(order.numpy(), found[3])
    assert np.allclose(active.numpy(), found[4], rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.45, 0.5, 0.6, 0.7])
def test_a_threshold_in_float32_parts_the_same_numbers(threshold) -> None:
    near = np.float32(threshold)
    numbers = [np.nextafter(near, np.float32(0)), near, np.nextafter(near, np.float32(1))]
    rounded = np.float32(not_above(threshold))
    assert [n > rounded for n in numbers] == [float(n) > threshold for n in numbers]
