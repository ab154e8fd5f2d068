"""Gives points a size, so that assigners can measure how far objects overlap them."""

import torch
from torch import Tensor

from detectors.ops.boxes import centers, from_center, sides
from detectors.structures import Priors


def prior_boxes(priors: Priors, point_side: float) -> Tensor:
    """Boxes [1 or B, N, 4] of the priors; of a point, a square around it.

    A point is a prior as wide and high as its stride (`structures.Priors`), too small to overlap
    any object well.

    Args:
        point_side: of the square, in strides; 8 in the releases of ATSS and PAA.
    """
    stride = priors.stride[:, None]
    is_point = ((sides(priors.boxes) - stride).abs() < 1e-3 * stride).all(-1, keepdim=True)
    square = from_center(centers(priors.boxes), point_side * stride)
    return torch.where(is_point, square, priors.boxes)
