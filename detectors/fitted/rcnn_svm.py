"""Hard negatives for a linear machine: one pass over the pictures, as in the release of R-CNN."""

from dataclasses import dataclass, field

import numpy as np

from detectors.fitted.svm import Machine, linear_svm

HARD = -1.0001  # a negative above this margin is hard
EASY = -1.2  # and one below this is forgotten
RETRAIN = 2000  # hard negatives after which the machine is fitted anew


@dataclass
class Miner:
    """The machine of one class while the pictures go by.

    `rcnn_train.m` of the release. Of the first picture that has any, all negatives are taken; of
    the others those whose margin is above `hard`. When more than `retrain` have been added, and at
    the last picture, the machine is fitted to the positives and to the negatives that it has,
    and negatives whose margin is now below `easy` are forgotten.

    Args:
        positives: [n, D] float32, scaled features of the objects of the class.
        cost, positive_cost, bias_scale: of `linear_svm`; 1e-3, 2 and 10 in the release.
        hard, easy, retrain: as above.
        seed, rounds: of `linear_svm`.
    """

    positives: np.ndarray
    cost: float = 1e-3
    positive_cost: float = 2.0
    bias_scale: float = 10.0
    hard: float = HARD
    easy: float = EASY
    retrain: int = RETRAIN
    seed: int = 0
    rounds: int = 1000
    machine: Machine | None = None
    added: int = 0  # since the machine was fitted
    fits: int = 0
    negatives: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.negatives = np.zeros((0, self.positives.shape[1]), np.float32)

    def see(self, windows: np.ndarray, last: bool) -> None:
        """Look at the negatives of one picture.

        Args:
            windows: [m, D] float32, scaled features of windows that are negative for the class.
            last: whether it is the last picture.
        """
        if self.machine is not None:
            windows = windows[self.machine.margins(windows) > self.hard]
        if len(windows):
            self.negatives = np.concatenate([self.negatives, windows])
            self.added += len(windows)
        first = self.machine is None
        if (first or last or self.added > self.retrain) and len(self.negatives):
            self._fit()

    def _fit(self) -> None:
        self.machine = linear_svm(
            self.positives,
            self.negatives,
            self.cost,
            self.seed,
            self.bias_scale,
            self.positive_cost,
            self.rounds,
        )
        self.added, self.fits = 0, self.fits + 1
        self.negatives = self.negatives[self.machine.margins(self.negatives) >= self.easy]
