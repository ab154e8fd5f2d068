"""Linear support vector machines, by scikit-learn's liblinear."""

import logging
import warnings
from collections.abc import Collection
from typing import NamedTuple

import numpy as np

REMEDY = (
    "scikit-learn is not installed, which fits support vector machines: "
    "pip install 'lightning-detectors[classical]'"
)

_log = logging.getLogger(__name__)


class Machine(NamedTuple):
    """A linear score of a row of numbers, above 0 for what is looked for."""

    weights: np.ndarray  # [D] float32
    bias: float
    converged: bool  # whether the solver was done before its last round

    def margins(self, rows: np.ndarray) -> np.ndarray:
        """[n] float32 of rows [n, D]."""
        return rows @ self.weights + np.float32(self.bias)


def linear_svm(
    positives: np.ndarray,
    negatives: np.ndarray,
    cost: float,
    seed: int = 0,
    bias_scale: float = 1.0,
    positive_cost: float = 1.0,
    rounds: int = 1000,
) -> Machine:
    """The machine that minimises `|w|^2 / 2 + cost * sum of hinge losses`.

    Args:
        positives, negatives: [n, D] float32.
        cost: C.
        seed: of the order in which the solver visits the rows.
        bias_scale: the bias is the weight of a further number of this size, so it costs less the
            larger that is.
        positive_cost: factor of the cost of a positive.
        rounds: after which the solver stops in any case.

    Raises:
        ValueError: there is no positive or no negative, or scikit-learn is not installed.
    """
    if not len(positives) or not len(negatives):
        raise ValueError(
            f"a support vector machine needs examples of both kinds, found {len(positives)} "
            f"positive and {len(negatives)} negative ones: give more pictures"
        )
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise ValueError(REMEDY) from error
    solver = LinearSVC(
        C=cost,
        loss="hinge",
        intercept_scaling=bias_scale,
        class_weight={0: 1.0, 1: positive_cost},
        max_iter=rounds,
        random_state=seed,
    )
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ConvergenceWarning)
        kinds = np.repeat([1, 0], [len(positives), len(negatives)])
        solver.fit(np.concatenate([positives, negatives]), kinds)
    converged = not any(issubclass(one.category, ConvergenceWarning) for one in told)
    return Machine(solver.coef_[0].astype(np.float32), float(solver.intercept_[0]), converged)


def unconverged(machines: Collection[Machine], rounds: int) -> dict[str, float]:
    """How many were not done, as a stage tells it; nothing if all were. The log has the remedy."""
    count = sum(not machine.converged for machine in machines)
    if not count:
        return {}
    _log.warning(
        "%d of %d support vector machines were not done after part.fitted.rounds=%d: say more "
        "rounds, or a smaller part.fitted.cost",
        count,
        len(machines),
        rounds,
    )
    return {"machines that did not converge": count}
