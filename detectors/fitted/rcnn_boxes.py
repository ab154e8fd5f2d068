"""R-CNN's regression of boxes: ridge regression of whitened targets, in closed form."""

from typing import NamedTuple

import numpy as np
import scipy.linalg

SMALLEST = 1e-3  # added to the variances, as in the release's `rcnn_train_bbox_regressor.m`
LARGEST = np.log(1000 / 16)  # growth of a side that is believed, as of `coders.Delta`
AT_ONCE = 1024  # windows that are summed together


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


def ridge(gram: np.ndarray, products: np.ndarray, penalty: float) -> np.ndarray:
    """[D, k] that minimises `|X w - T|^2 + penalty |w|^2`, by Cholesky; eq. 5.

    Args:
        gram: [D, D], `X'X`, of which the lower triangle is read; it is written over.
        products: [D, k], `X'T`.
        penalty: lambda, above 0.
    """
    gram[np.diag_indices_from(gram)] += penalty
    factor = scipy.linalg.cho_factor(gram, lower=True, overwrite_a=True, check_finite=False)
    return scipy.linalg.cho_solve(factor, products, check_finite=False)


class RidgeSums:
    """What the regression of a class needs to know of its windows, of which none is kept.

    Args:
        numbers: D of a window's features.
    """

    def __init__(self, numbers: int) -> None:
        self.count = 0
        self.gram = np.zeros((numbers + 1, numbers + 1), order="F")  # its lower triangle
        self.products, self.squares = np.zeros((numbers + 1, 4)), np.zeros((4, 4))
        self.waiting: list[np.ndarray] = []  # rows [n, D + 5]: features, 1, targets

    def add(self, features: np.ndarray, targets: np.ndarray) -> None:
        """Windows with features [n, D] and targets [n, 4] of `encoded`."""
        ones = np.ones((len(features), 1))
        self.waiting.append(np.concatenate([features, ones, targets], axis=1, dtype=np.float64))
        self.count += len(features)
        if sum(map(len, self.waiting)) >= AT_ONCE:
            self._sum()

    def _sum(self) -> None:
        if not self.waiting:
            return
        rows, targets = np.split(np.concatenate(self.waiting), [len(self.gram)], axis=1)
        self.waiting = []
        dsyrk = scipy.linalg.blas.dsyrk
        self.gram = dsyrk(1.0, rows.T, beta=1.0, c=self.gram, lower=1, overwrite_c=1)
        self.products += rows.T @ targets
        self.squares += targets.T @ targets

    def regressor(self, penalty: float) -> tuple[Regressor, float, float]:
        """Ridge regression of targets that are centred and whitened first; these sums are used up.

        As released: the paper has no whitening, and the bias is penalised like any weight.

        Args:
            penalty: lambda; 1000 in the paper.

        Returns:
            The regressor, the sum of the squared targets, and of the squares of what it leaves.
        """
        self._sum()
        ones = self.gram[-1].copy()  # the last of the features is 1
        mean = self.products[-1] / self.count
        spread = self.squares / self.count - np.outer(mean, mean)
        values, vectors = np.linalg.eigh((spread + spread.T) / 2)
        roots = np.sqrt(values.clip(min=0) + SMALLEST)
        whitened = (self.products - np.outer(ones, mean)) @ (vectors / roots @ vectors.T)
        weights = ridge(self.gram, whitened, penalty)
        unwhitened = vectors * roots @ vectors.T
        fitted = whitened - penalty * weights  # X'X w, by the equation that w solves
        centred = spread * self.count
        left = centred - 2 * unwhitened @ (weights.T @ whitened) @ unwhitened
        left += unwhitened @ (weights.T @ fitted) @ unwhitened
        sums = float(np.trace(self.squares)), max(float(np.trace(left)), 0.0)
        return Regressor(weights, unwhitened, mean), *sums
