"""A loss term that joins the others only when the training comes to its end."""

from typing import cast

import torch
from torch import Tensor

from detectors.contracts import check_contract
from detectors.layers.progress import Timed
from detectors.losses import LossTerm
from detectors.ranges import Count
from detectors.structures import Matched, Progress


class ClosingTerm(Timed, LossTerm):
    """Another term in the last epochs of a run, nothing before.

    YOLOX adds the L1 distance of the deltas so (Ge et al. 2021, sec. 2.1). Before its time the term
    is computed and multiplied by zero, so that the graph stays the same.

    Args:
        term: what is added.
        last: epochs at the end of the run.
    """

    on: Tensor

    def __init__(self, term: LossTerm, last: Count = 1) -> None:
        super().__init__()
        check_contract(term, LossTerm)
        self.term, self.last = term, last
        self.needs_quality, self.needs_background = term.needs_quality, term.needs_background
        self.score_activation, self.deltas = term.score_activation, term.deltas
        self.selects, self.counts = term.selects, term.counts
        self.register_buffer("on", torch.zeros(()), persistent=False)  # 1 in the last epochs

    def begin(self, progress: Progress) -> None:
        self.on.fill_(float(progress.epoch >= progress.epochs - self.last))

    def forward(self, matched: Matched) -> Tensor:
        """[B, N]."""
        self.require_progress()
        return self.on * cast(Tensor, self.term(matched))
