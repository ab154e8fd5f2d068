"""What stands before and after a neck, whatever neck it is."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from detectors.structures import FeatureSpec

Neck = Callable[[Sequence[FeatureSpec]], Any]


class SequentialNeck(nn.Module):
    """Necks one after another, each made for the levels that the one before delivers.

    Args:
        specs: levels of the backbone, finest first.
        neck: the one in the middle.
        before, after: named ones around it, in their order; None leaves one out.
    """

    def __init__(
        self,
        specs: Sequence[FeatureSpec],
        neck: Neck,
        before: Mapping[str, Neck | None],
        after: Mapping[str, Neck | None],
    ) -> None:
        super().__init__()
        self.specs = list(specs)
        self.stages = nn.ModuleDict()
        for name, stage in {**before, "neck": neck, **after}.items():
            if stage is not None:
                self.stages[name] = made = stage(self.specs)
                self.specs = list(made.specs)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        for stage in self.stages.values():
            features = stage(features)
        return features


class CoarsestLevel(nn.Module):
    """The levels as they are, but the coarsest through a block.

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


class EveryLevel(nn.Module):
    """Each level through a block of its own; arguments as `CoarsestLevel`."""

    def __init__(self, specs: Sequence[FeatureSpec], block: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.specs = list(specs)
        self.blocks = nn.ModuleList(block(spec.channels) for spec in specs)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        return [block(feature) for block, feature in zip(self.blocks, features, strict=True)]
