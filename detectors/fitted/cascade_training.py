"""Trains the stages of a cascade, each against what those before it let pass."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from detectors.fitted.boosting import Stump, StumpSearch, adaboost
from detectors.fitted.cascade import (
    SLACK,
    Buffer,
    Cascade,
    normalised,
    stage_sums,
    stages_for,
)
from detectors.fitted.cascade_scan import ScaledPicture, scan
from detectors.fitted.haar_features import HaarFeatures, all_features, corner_matrix
from detectors.fitted.integral import integral, squared_integral
from detectors.ops import numpy_boxes


class StageTargets(NamedTuple):
    """When a stage is good enough (Viola & Jones 2004, sec. 4.2)."""

    detection_rate: float  # least share of the objects that passes
    false_positive_rate: float  # most of the others
    stumps: int  # after so many it ends all the same


class StageFigures(NamedTuple):
    """How good a stage is on the examples that it was trained on."""

    stumps: int
    detection_rate: float
    false_positive_rate: float


def empty_cascade(height: int, width: int) -> Cascade:
    """A cascade without stages: every window passes that varies enough."""
    none = HaarFeatures(
        np.zeros((0, 3, 4), np.int32), np.zeros((0, 3), np.float32), np.zeros(0, bool)
    )
    whole, real = np.zeros(0, np.int64), np.zeros(0, np.float32)
    start = np.zeros(1, np.int64)
    branches = np.zeros((0, 2), np.int64)
    return Cascade(height, width, none, start, real, start, whole, real, branches, real)


def with_stage(
    cascade: Cascade, features: HaarFeatures, stumps: Sequence[Stump], threshold: float
) -> Cascade:
    """The cascade and one more stage.

    Args:
        features: that the numbers of the stumps mean.
        threshold: that the votes must sum to.
    """
    nodes = np.arange(len(stumps)) + len(cascade.feature)
    alphas = np.array([stump.alpha for stump in stumps], np.float32)
    below = np.array([stump.below for stump in stumps])
    leaves = np.stack([np.where(below, alphas, 0), np.where(below, 0, alphas)], axis=-1)
    added = features.take(np.array([stump.feature for stump in stumps]))
    joined = zip(cascade.features, added, strict=True)
    return Cascade(
        cascade.height,
        cascade.width,
        HaarFeatures(*(np.concatenate(parts) for parts in joined)),
        np.append(cascade.stages, nodes[-1] + 1),
        np.append(cascade.stage_thresholds, np.float32(threshold)),
        np.append(cascade.trees, nodes + 1),
        np.append(cascade.feature, nodes),
        np.append(cascade.threshold, np.array([s.threshold for s in stumps], np.float32)),
        np.concatenate([cascade.branches, ~np.stack([2 * nodes, 2 * nodes + 1], axis=-1)]),
        np.append(cascade.leaves, leaves.ravel().astype(np.float32)),
    )


def passes(cascade: Cascade, crops: np.ndarray) -> np.ndarray:
    """[n] bool: which windows pass every stage and vary enough.

    Args:
        crops: [n, height, width] uint8.
    """
    buffer, windows = _stacked(crops)
    factors = normalised(cascade, buffer, windows)
    passed = factors > 0
    for stage in stages_for(cascade, buffer):
        (alive,) = passed.nonzero()
        total = stage_sums(stage, buffer, windows[alive], factors[alive])
        passed[alive] = total >= stage.least
    return passed


def train_stage(
    cascade: Cascade,
    objects: np.ndarray,
    others: np.ndarray,
    targets: StageTargets,
    most: int | None = None,
    generator: np.random.Generator | None = None,
) -> tuple[Cascade, StageFigures]:
    """The cascade with a stage that tells these objects from these others.

    Stumps are added until the targets are met. After each one the threshold is as high as lets
    enough objects pass.

    Args:
        objects, others: [n, height, width] uint8, windows that pass the stages so far.
        most: features that are looked at; None: all.
        generator: draws them.
    """
    features = all_features(cascade.height, cascade.width)
    if most is not None and most < len(features.tilted):
        assert generator is not None
        features = features.take(generator.permutation(len(features.tilted))[:most])
    search = _search(cascade, features, objects, others)
    positive, stumps = search.positive, []
    sums = np.zeros(len(positive))
    missed = int((1 - targets.detection_rate) * len(objects) + 1e-9)
    for stump in adaboost(search):
        stumps.append(stump)
        row = search.values(slice(stump.feature, stump.feature + 1))[0]
        sums += stump.votes(row) * np.float64(np.float32(stump.alpha))
        threshold = np.partition(sums[positive], missed)[missed]
        passed = sums >= np.float32(threshold) - SLACK
        found, wrong = passed[positive].mean(), passed[~positive].mean()
        if wrong <= targets.false_positive_rate or len(stumps) == targets.stumps:
            break
    figures = StageFigures(len(stumps), float(found), float(wrong))
    return with_stage(cascade, features, stumps, float(threshold)), figures


def false_alarms(
    cascade: Cascade,
    pictures: Iterator[tuple[list[ScaledPicture], np.ndarray, np.ndarray]],
    wanted: int,
    most: int,
    generator: np.random.Generator,
    overlap: float = 0.3,
) -> np.ndarray:
    """Windows [n, height, width] uint8 that pass a cascade and are no object; `wanted` at most.

    Args:
        pictures: the layers of each, its objects [m, 4] and which of them are ignored, [m].
        most: windows of one picture, drawn at random.
        overlap: a window that overlaps an object more is none, as `numpy_boxes.overlap`.
    """
    found: list[np.ndarray] = []
    for pyramid, objects, ignored in pictures:
        windows = scan(cascade, pyramid)
        corners = windows.boxes.astype(np.float64)
        corners[:, 2:] += corners[:, :2]
        met = numpy_boxes.overlap(corners[:, None], objects, ignored).max(axis=1, initial=0.0)
        (free,) = (met <= overlap).nonzero()
        for row in generator.permutation(free)[:most]:
            x, y = windows.places[row]
            image = pyramid[windows.layer[row]].image
            found.append(image[y : y + cascade.height, x : x + cascade.width])
        if len(found) >= wanted:
            break
    return np.array(found[:wanted], np.uint8).reshape(-1, cascade.height, cascade.width)


def object_windows(
    grey: np.ndarray,
    boxes: np.ndarray,
    height: int,
    width: int,
    margin: float,
    jitter: float = 0.0,
    generator: np.random.Generator | None = None,
) -> np.ndarray:
    """Windows [n, height, width] uint8 around objects, as a scan would see them.

    Those that reach out of the picture are pushed in; those that do not fit are left out.

    Args:
        grey: [H, W] uint8.
        boxes: [n, 4] xyxy.
        margin: share of an object's side that a window adds on each of its sides.
        jitter: share of a window's side by which it is shifted at most, and half of the share by
            which it is larger or smaller: a scan hardly ever hits an object exactly.
        generator: draws both.
    """
    crops = []
    for box, (right, down, larger) in zip(boxes, _jitter(len(boxes), generator), strict=True):
        x1, y1, x2, y2 = box
        scale = np.sqrt((x2 - x1) * (y2 - y1) / (height * width)) * (1 + 2 * margin)
        scale *= 1 + 2 * jitter * larger
        high, wide = round(height * scale), round(width * scale)
        if not (0 < high <= grey.shape[0] and 0 < wide <= grey.shape[1]):
            continue
        top = _inside((y1 + y2 - high) / 2 + jitter * down * high, grey.shape[0] - high)
        left = _inside((x1 + x2 - wide) / 2 + jitter * right * wide, grey.shape[1] - wide)
        part = np.ascontiguousarray(grey[top : top + high, left : left + wide])
        crops.append(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR_EXACT))
    return np.array(crops, np.uint8).reshape(-1, height, width)


def _jitter(count: int, generator: np.random.Generator | None) -> np.ndarray:
    """[count, 3] in -1..1; zeros without a generator."""
    return np.zeros((count, 3)) if generator is None else generator.uniform(-1, 1, (count, 3))


def _inside(place: float, most: int) -> int:
    return min(max(round(place), 0), most)


def _search(
    cascade: Cascade, features: HaarFeatures, objects: np.ndarray, others: np.ndarray
) -> StumpSearch:
    crops = np.concatenate([objects, others])
    buffer, windows = _stacked(crops)
    factors = normalised(cascade, buffer, windows)
    matrix = corner_matrix(features, cascade.height, cascade.width)
    sums = np.ascontiguousarray(buffer.sums.reshape(len(crops), -1).T)

    def values(part: slice) -> np.ndarray:
        return (matrix[part] @ sums).astype(np.float32) * factors

    return StumpSearch(values, matrix.shape[0], np.arange(len(crops)) < len(objects))


def _stacked(crops: np.ndarray) -> tuple[Buffer, np.ndarray]:
    """A buffer of windows, and where each begins."""
    count, height, width = crops.shape
    rows, columns = count * (height + 1), width + 1
    sums, squares = integral(crops).ravel(), squared_integral(crops).ravel()
    starts = np.arange(count) * (height + 1) * columns
    return Buffer(sums, squares, 1, rows, columns), starts
