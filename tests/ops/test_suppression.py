"""Suppression against a plain loop, and as one node of a graph."""

import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from detectors.ops.boxes import pairwise_iou
from detectors.ops.suppression import fixed_point, greedy_iou, one_round

SMALL = st.integers(0, 6)
ROWS = st.lists(st.tuples(SMALL, SMALL, SMALL, SMALL, st.integers(0, 1), st.booleans()), max_size=9)
BITS = st.lists(st.integers(0, 2**8 - 1), min_size=8, max_size=8)


def greedy_by_loop(relation: Tensor, valid: Tensor) -> Tensor:
    """One image: each candidate in turn stays unless one that stayed removes it."""
    keep = torch.zeros_like(valid)
    for j in range(len(valid)):
        keep[j] = valid[j] and not any(keep[i] and relation[i, j] for i in range(j))
    return keep


def iou_relation(boxes: Tensor, groups: Tensor, threshold: float) -> Tensor:
    """Who removes whom, [B, K, K], by torchvision's IoU in double precision."""
    overlaps = torch.stack([torchvision.ops.box_iou(b, b) for b in boxes.double()])
    same = groups[:, :, None] == groups[:, None]
    return ((overlaps > threshold) & same).triu(diagonal=1)


def candidates(count: int, batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Crowded boxes on a small canvas, two groups, one in five not valid."""
    low = torch.rand(batch, count, 2) * 20
    boxes = torch.cat([low, low + 5 + torch.rand(batch, count, 2) * 15], dim=-1)
    return boxes, torch.randint(2, (batch, count)), torch.rand(batch, count) < 0.8


@given(st.integers(0, 2**16), st.integers(1, 30), st.sampled_from([0.3, 0.5, 0.7]))
@settings(max_examples=40, deadline=None)
def test_kernel_fixed_point_and_loop_agree(seed: int, count: int, threshold: float) -> None:
    torch.manual_seed(seed)
    boxes, groups, valid = candidates(count)
    relation = iou_relation(boxes, groups, threshold)
    expected = torch.stack([greedy_by_loop(r, v) for r, v in zip(relation, valid, strict=True)])
    assert torch.equal(greedy_iou(boxes, groups, valid, threshold), expected)
    assert torch.equal(fixed_point(relation, valid), expected)


@given(ROWS)
@settings(max_examples=100, deadline=None)
def test_agree_where_overlaps_tie_or_boxes_are_empty(rows: list) -> None:
    """Whole corners give an IoU of exactly one half, repeated boxes and empty ones."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(1, -1, 6)
    low, high = table[..., :2].minimum(table[..., 2:4]), table[..., :2].maximum(table[..., 2:4])
    boxes, groups, valid = torch.cat([low, high], -1), table[..., 4].long(), table[..., 5] > 0
    higher = (groups[:, :, None] == groups[:, None]).triu(diagonal=1)
    relation = (pairwise_iou(boxes, boxes) > 0.5) & higher
    assert torch.equal(greedy_iou(boxes, groups, valid, 0.5), fixed_point(relation, valid))


@given(BITS, st.integers(0, 2**8 - 1))
@settings(max_examples=100, deadline=None)
def test_fixed_point_is_greedy_for_any_relation(bits: list[int], real: int) -> None:
    powers = 2 ** torch.arange(8)
    relation = ((torch.tensor(bits)[:, None] & powers) > 0).triu(diagonal=1)
    valid = (torch.tensor(real) & powers) > 0
    settled = fixed_point(relation[None], valid[None])[0]
    assert torch.equal(settled, greedy_by_loop(relation, valid))


def test_whom_nobody_who_stays_removes_stays() -> None:
    """First removes second; second would have removed third: third stays, but not in one round."""
    relation = torch.zeros(1, 3, 3, dtype=torch.bool)
    relation[0, 0, 1] = relation[0, 1, 2] = True
    valid = torch.ones(1, 3, dtype=torch.bool)
    assert fixed_point(relation, valid).tolist() == [[True, False, True]]
    assert one_round(relation, valid).tolist() == [[True, False, False]]


def test_overlap_of_just_the_threshold_stays() -> None:
    boxes = torch.tensor([[[0.0, 0, 10, 10], [0.0, 0, 10, 5], [0.0, 0, 10, 4.9]]])
    everyone, one_group = torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 3, dtype=torch.int64)
    kept = greedy_iou(boxes[:, :2], one_group[:, :2], everyone[:, :2], 0.5)
    assert kept.tolist() == [[True, True]]
    assert greedy_iou(boxes, one_group, everyone, 0.49).tolist() == [[True, False, False]]


def test_groups_never_meet_even_far_from_the_origin() -> None:
    boxes = torch.tensor([[[-4e6, -4e6, -4e6 + 64, -4e6 + 64]]]).repeat(1, 4, 1)
    groups = torch.tensor([[0, 90, 0, 90]])
    kept = greedy_iou(boxes, groups, torch.ones(1, 4, dtype=torch.bool), 0.5)
    assert kept.tolist() == [[True, True, False, False]]


def test_rows_that_are_not_valid_neither_remove_nor_remain() -> None:
    boxes, groups = torch.tensor([[[0.0, 0, 9, 9]]]).repeat(1, 3, 1), torch.zeros(1, 3).long()
    valid = torch.tensor([[False, True, False]])
    everyone_below = torch.ones(1, 3, 3, dtype=torch.bool).triu(diagonal=1)
    assert torch.equal(greedy_iou(boxes, groups, valid, 0.5), valid)
    assert torch.equal(fixed_point(everyone_below, valid), valid)


def test_nothing_in_nothing_out() -> None:
    for count in (0, 3):
        boxes, groups, valid = candidates(count)
        nobody = torch.zeros_like(valid)
        assert torch.equal(greedy_iou(boxes, groups, nobody, 0.5), nobody)
        assert torch.equal(fixed_point(iou_relation(boxes, groups, 0.5), nobody), nobody)


class Both(nn.Module):
    """Both operators in one graph."""

    def forward(self, boxes: Tensor, groups: Tensor, valid: Tensor) -> Tensor:
        relation = (pairwise_iou(boxes, boxes) > 0.5).triu(diagonal=1)
        return fixed_point(relation, valid) & greedy_iou(boxes, groups, valid, 0.5)


def test_operators_keep_the_rules_of_custom_operators() -> None:
    """Schema, fake tensors and tracing, with PyTorch's own checks."""
    boxes, groups, valid = candidates(12)
    torch.library.opcheck(fixed_point, (iou_relation(boxes, groups, 0.5), valid))
    torch.library.opcheck(greedy_iou, (boxes, groups, valid, 0.5))


def test_one_graph_compiled_and_exported() -> None:
    sample, other = candidates(12), candidates(12)
    compiled = torch.compile(Both(), backend="eager", fullgraph=True)
    exported = torch.export.export(Both(), sample).module()
    for inputs in (sample, other):
        expected = Both()(*inputs)
        assert torch.equal(compiled(*inputs), expected)
        assert torch.equal(exported(*inputs), expected)
