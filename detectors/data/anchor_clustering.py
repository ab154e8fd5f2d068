"""Typical box shapes of a data set: k-means on 1 - IoU (YOLOv2, Redmon & Farhadi 2017, sec. 2)."""

import numpy as np

from detectors.data.augment.transforms import Resize
from detectors.ops.numpy_boxes import shape_iou
from detectors.random_streams import stream
from detectors.structures import Annotations

SAME = 0.99  # IoU from which two shapes are one


def canvas_shapes(annotations: Annotations, resize: Resize) -> np.ndarray:
    """[n, 2] width and height of every box after the resize, in pixels; crowds are left out."""
    sides = annotations.boxes[:, 2:] - annotations.boxes[:, :2]
    return (sides * picture_growth(annotations, resize))[~annotations.crowd]


def picture_growth(annotations: Annotations, resize: Resize) -> np.ndarray:
    """[n, 2] factors by which the resize multiplies width and height of each object's picture."""
    sizes, kind = np.unique(annotations.sizes, axis=0, return_inverse=True)
    pictures = np.array([resize.picture_size(height, width) for height, width in sizes.tolist()])
    return (pictures / sizes)[kind.reshape(-1)[annotations.owners()]][:, ::-1]


def clustered_shapes(
    shapes: np.ndarray, count: int, seed: int = 0, restarts: int = 8, rounds: int = 100
) -> tuple[np.ndarray, float]:
    """The shapes that boxes gather around, and the mean IoU of each box with its nearest.

    Args:
        shapes: [n, 2] width and height.
        count: how many to find.
        restarts: the best of so many starts is taken, each seeded as k-means++ does.
        rounds: at most so many updates; a cluster moves to the mean of its boxes.

    Returns:
        [count, 2] sorted by area, and a number in (0, 1].

    Raises:
        ValueError: there are fewer different boxes than shapes asked for, or so few that two of the
            shapes are the same but for rounding.
    """
    different = len(np.unique(shapes, axis=0))
    if not 1 <= count <= different:
        raise ValueError(f"asked for {count} shapes, the data has {different} different boxes")
    rng = stream(seed, name="anchor clustering")
    found = [_refined(shapes, _start(shapes, count, rng), rounds) for _ in range(restarts)]
    best, fit = max(found, key=lambda result: result[1])
    _check_distinct(best)
    return best[np.argsort(best.prod(axis=1), kind="stable")], fit


def _check_distinct(shapes: np.ndarray) -> None:
    overlap = np.triu(shape_iou(shapes[:, None], shapes), 1)
    if overlap.max(initial=0) > SAME:
        first, second = shapes[list(np.unravel_index(overlap.argmax(), overlap.shape))].round(2)
        raise ValueError(
            f"{len(shapes)} shapes were asked for, but two of those found are one: "
            f"{first.tolist()} and {second.tolist()}; the boxes are of fewer sizes, ask for fewer"
        )


def _start(shapes: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Boxes far from each other, drawn by their squared distance (Arthur & Vassilvitskii 2007)."""
    chosen = shapes[rng.integers(len(shapes))][None]
    distance = 1 - shape_iou(shapes[:, None], chosen)[:, 0]
    for _ in range(count - 1):
        weights = np.maximum(distance, 0) ** 2
        new = shapes[rng.choice(len(shapes), p=weights / weights.sum())][None]
        distance = np.minimum(distance, 1 - shape_iou(shapes[:, None], new)[:, 0])
        chosen = np.concatenate([chosen, new])
    return chosen


def _refined(shapes: np.ndarray, means: np.ndarray, rounds: int) -> tuple[np.ndarray, float]:
    """The best means met on the way: the mean of a cluster need not raise its IoU."""
    best, fit = means, 0.0
    for _ in range(rounds):
        overlap = shape_iou(shapes[:, None], means)
        nearest = overlap.argmax(axis=1)
        if (now := float(overlap.max(axis=1).mean())) > fit:
            best, fit = means, now
        moved = _cluster_means(shapes, nearest, means)
        if np.array_equal(moved, means):
            break
        means = moved
    return best, fit


def _cluster_means(shapes: np.ndarray, nearest: np.ndarray, means: np.ndarray) -> np.ndarray:
    """The mean of every cluster; one without boxes stays where it is."""
    count = len(means)
    members = np.bincount(nearest, minlength=count)
    sums = [np.bincount(nearest, weights=shapes[:, side], minlength=count) for side in (0, 1)]
    centred = np.stack(sums, axis=1) / np.maximum(members, 1)[:, None]
    return np.where(members[:, None] > 0, centred, means)
