"""The same head on each of several levels that all see the whole picture."""

from collections.abc import Callable
from copy import deepcopy
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from detectors.contracts import check_contract
from detectors.heads import Head
from detectors.structures import (
    Assignment,
    Candidates,
    FeatureSpec,
    Priors,
    Targets,
)


class StackedOutput(NamedTuple):
    """What each head predicts; the last one detects."""

    stacks: tuple[Any, ...]


class StackedHead(Head):
    """Intermediate supervision: one head per level, losses averaged, the last one detects.

    Newell et al. 2016, "Stacked hourglass networks", sec. 3.2; CenterNet's `trains/ctdet.py`.

    Args:
        specs: levels, the one to be used last.
        head: `(specs) -> head` for one level; every level gets one with parts of its own.
    """

    # As `lacking` of coders.
    lacking = MappingProxyType(
        dict.fromkeys(
            ("assigner", "losses", "loss_weights"),
            "each level has a head of its own, which part.head.head describes: choose a family "
            "without stacked hourglasses, or leave the trick out",
        )
    )

    def __init__(self, specs: list[FeatureSpec], head: Callable[..., Head]) -> None:
        super().__init__()
        heads = [deepcopy(head)([spec]) for spec in specs]
        for one in heads:
            check_contract(one, Head)
        self.heads: Any = nn.ModuleList(heads)
        self.only_canvas, self.most = heads[-1].only_canvas, heads[-1].most
        self.finds_points = heads[-1].finds_points
        self.ranks_candidates, self.tells = heads[-1].ranks_candidates, heads[-1].tells

    def forward(
        self, features: list[Tensor], frames: Tensor, targets: Targets | None = None
    ) -> StackedOutput:
        """Predictions of every level."""
        levels = zip(self.heads, features, strict=True)
        return StackedOutput(tuple(head([level], frames, targets) for head, level in levels))

    def loss(self, output: StackedOutput, targets: Targets) -> dict[str, Tensor]:
        """Mean of each term over the levels."""
        levels = zip(self.heads, output.stacks, strict=True)
        losses = [head.loss(stack, targets) for head, stack in levels]
        return {name: torch.stack([one[name] for one in losses]).mean() for name in losses[0]}

    def assign(self, output: StackedOutput, targets: Targets) -> tuple[Priors, Assignment]:
        """Those of the last level."""
        return self.heads[-1].assign(output.stacks[-1], targets)

    def detect(self, output: StackedOutput) -> Candidates:
        """Candidates of the last level."""
        return self.heads[-1].detect(output.stacks[-1])
