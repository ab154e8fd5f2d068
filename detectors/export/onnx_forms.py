"""What our own operators are in ONNX, and those of torch that it lacks or is slow at.

Each function takes the arguments of its operator and writes the nodes that stand for it. Importing
this needs onnxscript.
"""

import math
from collections.abc import Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
from onnxscript import BOOL, FLOAT, INT64, opset18, script

from detectors.ops.boxes import EPSILON

op: Any = opset18


def greedy_iou(boxes: Any, groups: Any, valid: Any, threshold: float) -> Any:
    """`ops.suppression.greedy_iou` as one NonMaxSuppression, to which each group is a class.

    Classes are counted from the lowest group of each image. In place of its score a box has its
    rank, counted from below, so that equal scores are taken in their order.
    """
    own = op.Sub(groups, op.ReduceMin(groups, [1], keepdims=1))
    classes = op.Range(0, op.Add(op.ReduceMax(own, keepdims=0), 1), 1)
    same = op.Equal(op.Unsqueeze(own, [1]), op.Unsqueeze(classes, [0, 2]))
    rows = op.Shape(valid, start=1, end=2)
    falling = op.Cast(op.Range(op.Squeeze(rows), 0, -1), to=FLOAT.dtype)
    scores = op.Where(op.And(same, op.Unsqueeze(valid, [1])), falling, 0.0)  # [B, C, K]
    best = op.NonMaxSuppression(boxes, scores, rows, [not_above(threshold)], [0.0])
    places = op.Gather(best, [0, 2], axis=1)  # image and row of each
    nowhere = op.And(valid, op.Not(valid))
    count = op.Shape(places, start=0, end=1)
    return op.ScatterND(nowhere, places, op.Expand(op.Cast(1, to=BOOL.dtype), count))


def sort_stable(
    values: Any, stable: bool | None = None, dim: int = -1, descending: bool = False
) -> Any:
    """`torch.sort` as a TopK of all, which by its definition takes the first of equal values."""
    count = op.Reshape(op.Gather(op.Shape(values), _ints(dim)), _ints(1))
    return op.TopK(values, count, axis=dim, largest=int(descending), sorted=1)


def mish(values: Any) -> Any:
    """`x tanh(ln(1 + e^x))` by one exponential, as `x w / (w + 2)` with `w = e^x (e^x + 2)`.

    The softplus in onnxruntime's own Mish took a third of the time of YOLOv4's file. From 20 on the
    fraction is 1 in float32.
    """
    power = op.Exp(op.Min(values, _real(20.0)))
    grown = op.Mul(power, op.Add(power, _real(2.0)))
    return op.Mul(values, op.Div(grown, op.Add(grown, _real(2.0))))


def cummax(values: Any, dim: int) -> tuple[Any, Any]:
    """`torch.cummax` by maxima with what lies 1, 2, 4, ... places before; its places are zeros.

    Of our own `ops.running` asks for the maxima alone.
    """
    length, axis, step = values.shape[dim], _ints(dim % len(values.shape)), 1
    found, lowest = values, op.CastLike(_real(-math.inf), values)
    while step < length:
        before = op.Slice(found, _ints(0), _ints(length - step), axis)
        found = op.Max(found, op.Pad(before, _ints(step, 0), lowest, axis))
        step *= 2
    return found, op.ConstantOfShape(op.Shape(values))


def not_above(threshold: float) -> float:
    """The largest float32 that is not above a float64: the same float32 are greater than both.

    Torch compares an overlap with the float64, ONNX with a float32.
    """
    near = np.float32(threshold)
    return float(np.nextafter(near, np.float32(-1)) if float(near) > threshold else near)


def greedy_diou(boxes: Any, groups: Any, valid: Any, threshold: float, beta: float) -> Any:
    """`ops.suppression.greedy_diou`: its relation between all rows up to the last valid one."""
    rows = op.Shape(valid, start=1, end=2)
    rank = op.Range(1, op.Add(op.Squeeze(rows), 1), 1)
    last = op.ReduceMax(op.Mul(op.Cast(valid, to=INT64.dtype), rank), keepdims=0)
    count = op.Max(op.Reshape(last, [1]), _ints(1))
    boxes, groups, alive = (op.Slice(each, [0], count, [1]) for each in (boxes, groups, valid))
    near = op.Greater(_iou_less_distance(boxes, beta), _real(not_above(threshold)))
    same = op.Equal(op.Unsqueeze(groups, [2]), op.Unsqueeze(groups, [1]))
    above = op.Trilu(op.And(near, same), 1, upper=1)
    kept = fixed_point(above, alive)
    behind = op.Concat(_ints(0, 0, 0), op.Sub(rows, count), axis=0)
    return op.Pad(kept, behind, op.Cast(0, to=BOOL.dtype))


def _iou_less_distance(boxes: Any, beta: float) -> Any:
    """`IoU - (d^2 / c^2)^beta` of all pairs of boxes [B, K, 4], step by step as in `ops.boxes`."""
    first, second = op.Unsqueeze(boxes, [2]), op.Unsqueeze(boxes, [1])
    (low, high), (other_low, other_high) = _corners(first), _corners(second)
    inner = op.Max(op.Sub(op.Min(high, other_high), op.Max(low, other_low)), _real(0.0))
    intersection = _product(inner)
    union = op.Sub(op.Add(_area(low, high), _area(other_low, other_high)), intersection)
    iou = op.Div(intersection, op.Add(union, _real(EPSILON)))
    hull = op.Sub(op.Max(high, other_high), op.Min(low, other_low))
    apart = op.Sub(_middle(low, high), _middle(other_low, other_high))
    distance = op.Div(_squared(apart), op.Add(_squared(hull), _real(EPSILON)))
    return op.Sub(iou, op.Pow(distance, _real(beta)))


def _ints(*numbers: int) -> Any:
    return op.Constant(value_ints=numbers)


def _real(number: float) -> Any:
    return op.Constant(value_float=number)


def _corners(boxes: Any) -> tuple[Any, Any]:
    return op.Slice(boxes, [0], [2], [-1]), op.Slice(boxes, [2], [4], [-1])


def _middle(low: Any, high: Any) -> Any:
    return op.Div(op.Add(low, high), _real(2.0))


def _area(low: Any, high: Any) -> Any:
    return _product(op.Max(op.Sub(high, low), _real(0.0)))


def _product(pairs: Any) -> Any:
    return op.ReduceProd(pairs, [-1], keepdims=0)


def _squared(pairs: Any) -> Any:
    return op.ReduceSumSquare(pairs, [-1], keepdims=0)


@script()
def fixed_point(relation: BOOL[...], valid: BOOL[...]) -> BOOL[...]:  # type: ignore[type-arg,misc]
    """`ops.suppression.fixed_point`."""
    removes = op.Cast(relation, to=1)
    real = op.Cast(valid, to=1)
    keep = real
    changing = op.Cast(op.Constant(value_int=1), to=9)
    while changing:
        by = op.MatMul(op.Unsqueeze(keep, [1]), removes)
        following = op.Where(op.Greater(op.Squeeze(by, [1]), 0.0), 0.0, real)
        changing = op.Not(op.Equal(op.ReduceSum(op.Abs(op.Sub(following, keep)), keepdims=0), 0.0))
        keep = op.Identity(following)
    return op.Cast(keep, to=9)


def pooled_regions(
    features: Sequence[Any], boxes: Any, strides: Sequence[int], size: int, sampling: int
) -> Any:
    """`export.pooling.pooled_regions`: each level's RoIAlign of the regions that belong to it."""
    regions = op.Reshape(boxes, _ints(-1, 4))
    count = op.Squeeze(op.Shape(regions, end=1))
    number = op.Range(op.Constant(value_int=0), count, op.Constant(value_int=1))
    image = op.Div(number, op.Shape(boxes, start=1, end=2))
    level = _level(regions, strides)
    rows, pooled = [], []
    for index, (feature, stride) in enumerate(zip(features, strides, strict=True)):
        own = op.Reshape(op.NonZero(op.Equal(level, op.Constant(value_int=index))), _ints(-1))
        rows.append(own)
        pooled.append(
            op.RoiAlign(
                feature,
                op.Gather(regions, own),
                op.Gather(image, own),
                coordinate_transformation_mode="output_half_pixel",
                mode="avg",
                output_height=size,
                output_width=size,
                sampling_ratio=sampling,
                spatial_scale=1 / stride,
            )
        )
    order = op.Concat(*rows, axis=0)
    place = op.ScatterElements(order, order, number, axis=0)
    found = op.Gather(op.Concat(*pooled, axis=0), place)
    rest = op.Shape(found, start=1)
    return op.Reshape(found, op.Concat(op.Shape(boxes, end=2), rest, axis=0))


def weighted_rows(table: Any, index: Any, weights: Any) -> Any:
    """`export.pooling.weighted_rows`: one Gather for each of the k columns, in the table's type.

    The exporter's own form of `embedding_bag` is a loop over all sums, and rounds to float32.
    """
    columns = (
        op.Mul(
            op.Gather(table, op.Gather(index, op.Constant(value_int=column), axis=1)),
            op.Gather(weights, _ints(column), axis=1),
        )
        for column in range(index.shape[1])
    )
    return reduce(op.Add, columns)


def _level(regions: Any, strides: Sequence[int]) -> Any:
    """`ops.pooling.pyramid_levels` of regions [R, 4], [R] int64."""
    finest, coarsest = strides[0].bit_length() - 1, strides[-1].bit_length() - 1
    side = op.Sqrt(_area(*_corners(regions)))
    scaled = op.Add(op.Div(side, _real(224.0)), _real(1e-12))
    exponent = op.Div(op.Log(scaled), _real(math.log(2)))
    level = op.Floor(op.Add(op.Add(exponent, _real(4.0)), _real(1e-6)))
    return op.Cast(op.Sub(op.Clip(level, _real(finest), _real(coarsest)), _real(finest)), to=7)


def forms() -> dict[Any, Any]:
    """What stands for each of our operators, as `torch.onnx.export` takes it."""
    operators = torch.ops.detectors
    return {
        operators.greedy_iou.default: greedy_iou,
        operators.greedy_diou.default: greedy_diou,
        operators.fixed_point.default: fixed_point,
        operators.pooled_regions.default: pooled_regions,
        operators.weighted_rows.default: weighted_rows,
        torch.ops.aten.cummax.default: cummax,
        torch.ops.aten.mish.default: mish,
        torch.ops.aten.sort.stable: sort_stable,
    }
