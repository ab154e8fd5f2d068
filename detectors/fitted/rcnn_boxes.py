"""R-CNN's regression of boxes: ridge regression of whitened targets, in closed form."""

from typing import NamedTuple

import numpy as np
import scipy.linalg

SMALLEST = 1e-3  # added to the variances, as in the release's `rcnn_train_bbox_regressor.m`
LARGEST = np.log(1000 / 16)  # growth of a side that is believed, as of `coders.Delta`


class Regressor(NamedTuple):
    """Moves windows by a linear function of their features."""

    weights: np.ndarray  # [D + 1, 4], the last row for a feature that is one
    unwhitened: np.ndarray  # [4, 4]
    mean: np.ndarray  # [4]

    def deltas(self, features: np.ndarray) -> np.ndarray:
        """[n, 4] of features [n, D]."""
        return (features @ self.weights[:-1] + self.weights[-1]) @ self.unwhitened + self.mean


def encoded(windows: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """What windows are to be moved by, [n, 4]: Girshick et al. 2014, appendix C, eqs. 6 to 9."""
    sides, wanted = windows[:, 2:] - windows[:, :2], objects[:, 2:] - objects[:, :2]
    apart = (objects[:, :2] + objects[:, 2:] - windows[:, :2] - windows[:, 2:]) / 2
    return np.concatenate([apart / sides, np.log(wanted / sides)], axis=1)


def moved(windows: np.ndarray, deltas: np.ndarray) -> np.ndarray:
    """Windows [n, 4] moved by deltas [n, 4]: appendix C, eqs. 1 to 4."""
    sides = windows[:, 2:] - windows[:, :2]
    center = (windows[:, :2] + windows[:, 2:]) / 2 + deltas[:, :2] * sides
    half = sides * np.exp(np.minimum(deltas[:, 2:], LARGEST)) / 2
    return np.concatenate([center - half, center + half], axis=1)


def ridge(features: np.ndarray, targets: np.ndarray, penalty: float) -> np.ndarray:
    """[D, k] that minimises `|features w - targets|^2 + penalty |w|^2`, by Cholesky; eq. 5.

    Args:
        features: [n, D].
        targets: [n, k].
        penalty: lambda, above 0.
    """
    gram = features.T @ features
    gram[np.diag_indices_from(gram)] += penalty
    factor = scipy.linalg.cho_factor(gram, overwrite_a=True, check_finite=False)
    return scipy.linalg.cho_solve(factor, features.T @ targets, check_finite=False)


def regressor(features: np.ndarray, targets: np.ndarray, penalty: float) -> Regressor:
    """Ridge regression of targets that were centred and whitened.

    As released: the paper has no whitening, and the bias is penalised like any weight.

    Args:
        features: [n, D].
        targets: [n, 4] of `encoded`.
        penalty: lambda; 1000 in the paper.
    """
    mean = targets.mean(axis=0)
    centered = targets - mean
    values, vectors = np.linalg.eigh(centered.T @ centered / len(centered))
    roots = np.sqrt(values.clip(min=0) + SMALLEST)
    whitened = centered @ (vectors / roots @ vectors.T)
    rows = np.concatenate([features, np.ones((len(features), 1), features.dtype)], axis=1)
    weights = ridge(rows.astype(np.float64), whitened, penalty)
    return Regressor(weights, vectors * roots @ vectors.T, mean)
