"""Puts blocks before and after any neck."""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from detectors.contracts import check_contract
from detectors.necks import Neck
from detectors.structures import FeatureSpec


class SequentialNeck(Neck):
    """Runs necks one after another, each built for the levels that the one before delivers.

    Args:
        specs: levels of the backbone, finest first.
        neck: the neck of the family, in the middle.
        before, after: named necks that run before and after it, in order; None leaves one out.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        neck: Callable[..., Neck],
        before: Mapping[str, Callable[..., Neck] | None],
        after: Mapping[str, Callable[..., Neck] | None],
    ) -> None:
        super().__init__()
        self.specs = list(specs)
        self.stages = nn.ModuleDict()
        for name, stage in {**before, "neck": neck, **after}.items():
            if stage is not None:
                self.stages[name] = made = stage(self.specs)
                check_contract(made, Neck)
                self.specs = list(made.specs)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        for stage in self.stages.values():
            features = stage(features)
        return features


class CoarsestLevel(Neck):
    """Sends the coarsest level through a block and leaves the others unchanged.

    Args:
        specs: levels, finest first.
        block: `(channels) -> module` that keeps the shape.
    """

    def __init__(self, specs: Sequence[FeatureSpec], block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.specs = list(specs)
        self.block = block(specs[-1].channels)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [*features[:-1], self.block(features[-1])]


class EveryLevel(Neck):
    """Sends each level through a block of its own; the arguments are those of `CoarsestLevel`."""

    def __init__(self, specs: Sequence[FeatureSpec], block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.specs = list(specs)
        self.blocks = nn.ModuleList(block(spec.channels) for spec in specs)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [block(feature) for block, feature in zip(self.blocks, features, strict=True)]
