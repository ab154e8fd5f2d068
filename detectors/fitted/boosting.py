"""AdaBoost on stumps: each votes by one feature and one threshold (Viola & Jones 2004, sec. 3)."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

_BLOCK = 1 << 18  # values looked at together
_LEAST_ERROR = 1e-6  # of a stump in its vote, so that one without an error has a finite one


class Stump(NamedTuple):
    """Votes `alpha` for an object where its feature is below the threshold, or where it is not."""

    feature: int
    threshold: np.float32
    below: bool
    alpha: float
    error: float  # weight of the examples that it took for the other kind; all weigh 1

    def votes(self, values: np.ndarray) -> np.ndarray:
        """[...] bool: whether it takes examples with these values of its feature for objects."""
        return (values < self.threshold) == self.below


class StumpSearch:
    """Finds the stump with the least weighted error among all features and thresholds.

    The order of the examples by each feature is kept, so that a search is one pass over it.

    Args:
        values: gives the features [f, n] float32 of the n examples for a slice of features.
        features: how many there are.
        positive: [n] bool.
    """

    def __init__(
        self, values: Callable[[slice], np.ndarray], features: int, positive: np.ndarray
    ) -> None:
        self.values, self.features, self.positive = values, features, positive
        count = len(positive)
        self.order = np.empty((features, count), np.uint16 if count < 1 << 16 else np.int32)
        self.splits = np.zeros((features, count), bool)  # a threshold fits in after this one
        for part in self._parts():
            found = values(part)
            order = found.argsort(axis=1, kind="stable")
            ranked = np.take_along_axis(found, order, axis=1)
            self.order[part] = order
            self.splits[part, :-1] = ranked[:, :-1] < ranked[:, 1:]

    def best(self, weights: np.ndarray) -> Stump:
        """The best stump; of equally good ones the first feature.

        Args:
            weights: [n] float64, sum to 1.
        """
        signed = np.where(self.positive, weights, -weights)
        lead = np.empty((2, self.features))  # of objects below the best threshold, and of others
        for part in self._parts():
            below = self._lead_below(part, signed)
            lead[0, part], lead[1, part] = below.max(axis=1), -below.min(axis=1)
        objects = weights[self.positive].sum()
        errors = np.stack([objects - lead[0], weights.sum() - objects - lead[1]])
        other, feature = np.unravel_index(errors.argmin(), errors.shape)
        error = float(errors[other, feature].clip(min=0))
        threshold = self._threshold(int(feature), signed, sign=-1 if other else 1)
        alpha = float(np.log((1 - error) / max(error, _LEAST_ERROR)))
        return Stump(int(feature), threshold, other == 0, alpha, error)

    def _parts(self) -> Iterator[slice]:
        step = max(1, _BLOCK // len(self.positive))
        for start in range(0, self.features, step):
            yield slice(start, min(start + step, self.features))

    def _lead_below(self, part: slice, signed: np.ndarray) -> np.ndarray:
        """[f, n]: weight of objects less that of others, up to each example; 0 if none splits."""
        lead = signed.take(self.order[part])
        np.cumsum(lead, axis=1, out=lead)
        return np.multiply(lead, self.splits[part], out=lead)

    def _threshold(self, feature: int, signed: np.ndarray, sign: int) -> np.float32:
        """Halfway between the two values that the best threshold of a feature divides.

        If taking all for one kind is best, then it lies below every value.
        """
        row = slice(feature, feature + 1)
        place = int((sign * self._lead_below(row, signed)[0]).argmax())
        if not self.splits[feature, place]:
            return np.finfo(np.float32).min
        low, high = self.values(row)[0, self.order[feature, place : place + 2]]
        between = np.float32((float(low) + float(high)) / 2)
        return between if between > low else high  # rounding may bring it back to the lower one


def adaboost(search: StumpSearch) -> Iterator[Stump]:
    """One stump after the other, each for what those before it got wrong; without an end.

    Objects and others weigh the same in the beginning. After a stump of error e, those that it got
    right weigh e / (1 - e) times what they did.
    """
    positive = search.positive
    weights = np.where(positive, 0.5 / positive.sum(), 0.5 / (~positive).sum())
    while True:
        weights /= weights.sum()
        stump = search.best(weights)
        yield stump
        row = search.values(slice(stump.feature, stump.feature + 1))[0]
        right = stump.votes(row) == positive
        error = max(stump.error, _LEAST_ERROR)
        weights = weights * np.where(right, error / (1 - error), 1.0)
