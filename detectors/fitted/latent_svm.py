"""Fits the numbers of a component to placements that are given (Felzenszwalb et al. 2010, sec. 4).

Where parts lie is latent: it is found with the numbers so far, then they are fitted, and so on.
"""

import numpy as np
from scipy.optimize import minimize

from detectors.fitted.deformable import MOVES, Component

STIFFEST = 10.0  # how much more the numbers of a deformation are regularised, voc-release5
SOFTEST = 0.001  # least cost of a squared displacement


def fitted_component(
    component: Component, positives: np.ndarray, negatives: np.ndarray, cost: float, rounds: int
) -> tuple[Component, float]:
    """The component that minimises `squared_hinge`, found by L-BFGS from what it is, and the cost.

    Args:
        positives, negatives: [n, D] float32, as `placed_features`.
        cost: C.
        rounds: of L-BFGS at most.
    """
    rows = np.concatenate([positives, negatives])
    signs = np.repeat(np.array([1, -1], np.float32), [len(positives), len(negatives)])
    regularised = regularisation(component)
    begin = component.vector()
    least = np.full(len(begin), -np.inf)
    least[_moves(component)].reshape(-1, MOVES)[:, ::2] = SOFTEST
    found = minimize(
        lambda vector: squared_hinge(vector, rows, signs, regularised, cost),
        np.maximum(begin, least),
        jac=True,
        method="L-BFGS-B",
        bounds=np.stack([least, np.full(len(begin), np.inf)], axis=-1),
        options={"maxiter": rounds},
    )
    return component.with_vector(found.x), float(found.fun)


def squared_hinge(
    vector: np.ndarray,
    rows: np.ndarray,
    signs: np.ndarray,
    regularised: np.ndarray,
    cost: float,
) -> tuple[float, np.ndarray]:
    """`sum of r w^2 / 2 + C * sum of max(0, 1 - s w^T x)^2`, and its gradient [D]."""
    slack = (1 - signs * (rows @ vector.astype(np.float32))).clip(min=0)
    value = 0.5 * (regularised * vector) @ vector + cost * float(slack @ slack)
    pull = (signs * slack) @ rows
    return float(value), regularised * vector - 2 * cost * pull.astype(np.float64)


def regularisation(component: Component) -> np.ndarray:
    """[D] factors r of the squares of a component's numbers."""
    factors = np.ones(component.vector().size)
    factors[_moves(component)] = STIFFEST
    return factors


def _moves(component: Component) -> slice:
    start = component.root.size + component.parts.size
    return slice(start, start + component.deformations.size)
