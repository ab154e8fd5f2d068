"""Heads turn feature levels into losses and candidates; with the contracts of their parts."""

from abc import ABC, abstractmethod
from types import MappingProxyType
from typing import Annotated, Any

from torch import Tensor, nn

from detectors.structures import Assignment, Candidates, Detections, Priors, Targets

Maps = tuple[Tensor, Tensor, Tensor | None]  # logits, deltas, quality: [B, A * x, H, W] of a level


class Head(nn.Module, ABC):
    """Predicts from feature levels, compares with objects, and detects; made with `(specs)`."""

    only_canvas: Annotated[
        tuple[int, int] | None, "the one (height, width) of images it takes; None if it takes any"
    ] = None
    finds_points: Annotated[bool, "whether it finds points, which another head has to group"] = (
        False
    )
    takes_proposals: Annotated[
        bool, "whether `forward` can be given `Proposals` as a fourth argument"
    ] = False
    needs_proposals: Annotated[bool, "whether it can do nothing without"] = False
    ranks_candidates: Annotated[
        bool, "whether its candidates stand in an order that ties of scores may change"
    ] = False
    most: Annotated[int | None, "most objects of an image that it can find; None: unknown"] = None
    tells: Annotated[
        tuple[str, ...], "which of `deviations` and `iou` its candidates have beside their scores"
    ] = ()

    @abstractmethod
    def forward(
        self, features: list[Tensor], frames: Tensor, targets: Targets | None = None
    ) -> Any:
        """Output of the network part.

        Args:
            features: per level [B, C, H, W], finest first.
            frames: [B, 4] the part of the canvas that each picture fills.
            targets: given in training, for heads that sample between their stages.
        """

    @abstractmethod
    def loss(self, output: Any, targets: Targets) -> dict[str, Tensor]:
        """Weighted terms by name, scalars."""

    @abstractmethod
    def assign(self, output: Any, targets: Targets) -> tuple[Priors, Assignment]:
        """Priors, and which object each is to predict; of several heads or stages, one of them."""

    @abstractmethod
    def detect(self, output: Any) -> Candidates:
        """Everything that was predicted, decoded and scored."""

    def refine(self, output: Any, detections: Detections) -> Detections:
        """What is detected of its candidates in the end; most heads leave it as it is."""
        return detections

    def separate_levels(self) -> list[tuple[nn.Module, int]]:
        """As of a `Tower`; a head of several stages or towers has none."""
        return []


class Tower(nn.Module, ABC):
    """The network of a dense head; made with `(specs, num_classes=, per_cell=)`.

    `per_cell` is the number A of priors in a cell of each level. Where it `takes_numbers`, it is
    also made with `numbers=`, how many it regresses for each prior if these are not four.
    """

    predicts_quality: Annotated[bool, "whether there is a quality of each prior"] = False
    predicts_background: Annotated[bool, "whether background is a class, then the first"] = False
    takes_numbers: Annotated[bool, "whether it can regress other than four numbers"] = False
    only_canvas: Annotated[
        tuple[int, int] | None, "the one (height, width) of images it takes; None if it takes any"
    ] = None
    one_cell: Annotated[bool, "whether it makes one cell of each level, whatever its size"] = False
    # As `lacking` of coders.
    lacking = MappingProxyType(
        {
            "quality": "it has one or none, whatever is said: choose tower=shared or "
            "shared_quality, or leave the trick out"
        }
    )

    @abstractmethod
    def forward(self, features: list[Tensor]) -> list[Maps]:
        """Logits [B, A * C, H, W], deltas [B, A * 4, H, W] and quality [B, A, H, W] or None.

        Args:
            features: per level [B, channels, H, W], finest first.
        """

    def separate_levels(self) -> list[tuple[nn.Module, int]]:
        """The network of each level with its A, finest first; none where levels share layers.

        In such a network the last convolution gives all predictions of the level at once, as in
        darknet, whose weight files need to know.
        """
        return []


class RegionHead(nn.Module, ABC):
    """The network of a second stage; made with `(shape, num_classes=)`.

    `shape` is that of a pooled region, (channels, bins, bins). Where it `takes_numbers`, it is also
    made with `numbers=`, how many it regresses for each box if these are not four.
    """

    predicts_quality: Annotated[bool, "whether there is a quality of each region"] = False
    predicts_background: Annotated[bool, "whether background is a class, then the first"] = True
    takes_numbers: Annotated[bool, "whether it can regress other than four numbers"] = False
    one_box: Annotated[bool, "whether a region has one box, not one for each class"] = False

    @abstractmethod
    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Logits [B, R, 1 + C], background first, and deltas [B, R, C, 4], both float32.

        Of `one_box` deltas are [B, R, 4]; the last dimension may be `numbers`.

        Args:
            pooled: [B, R, channels, bins, bins].
        """


class Pooler(nn.Module, ABC):
    """Cuts regions out of feature levels; made with `(specs)`."""

    shape: Annotated[tuple[int, int, int], "of a pooled region, (channels, bins, bins)"]

    @abstractmethod
    def forward(self, features: list[Tensor], boxes: Tensor) -> Tensor:
        """Pooled regions `[B, R, *shape]`.

        Args:
            features: per level [B, channels, H, W], finest first.
            boxes: [B, R, 4] xyxy pixels of the network input.
        """
