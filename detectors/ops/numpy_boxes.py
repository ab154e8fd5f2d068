"""Overlap of boxes in NumPy, for data and evaluation. All functions broadcast.

`a[..., None, :]` against `b` gives the pairwise form.
"""

import numpy as np


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of xyxy boxes [..., 4] as [...]; 0 of two empty ones. None is inverted."""
    common = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    return _over_union(common.clip(min=0), a[..., 2:] - a[..., :2], b[..., 2:] - b[..., :2])


def overlap(a: np.ndarray, b: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """IoU [...] of boxes, and the share of `a` that lies inside where `b` is ignored, as COCO's.

    A window inside of a crowd has next to no IoU with it, but shows what is not to be judged.
    """
    common = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared, own = common.clip(min=0).prod(axis=-1), (a[..., 2:] - a[..., :2]).prod(axis=-1)
    inside = np.divide(shared, own, out=np.zeros_like(shared), where=own > 0)
    return np.where(ignored, inside, iou(a, b))


def shape_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU [...] of boxes of one centre, given as width and height [..., 2]; 0 of two empty ones.

    YOLO9000, Redmon & Farhadi 2017, sec. 2, "Dimension Clusters".
    """
    return _over_union(np.minimum(a, b), a, b)


def _over_union(common: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[...] from the width and height [..., 2] of the intersection and of both boxes."""
    shared = common.prod(axis=-1)
    union = a.prod(axis=-1) + b.prod(axis=-1) - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)
