"""The head of detectors that find objects by their corners."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from detectors.assigners.ties import assignable
from detectors.contracts import check_contract
from detectors.heads import Head
from detectors.heads.dense import DenseHead
from detectors.heads.grouping import CORNERS, Grouping, PointMap
from detectors.heads.region_stage import as_priors
from detectors.heads.towers import RELU, branch
from detectors.layers.conv import Activation
from detectors.losses.tags import PullPush
from detectors.ops.boxes import centers, clip, from_center, sides
from detectors.ranges import Count, Weight
from detectors.structures import (
    Assignment,
    Candidates,
    FeatureSpec,
    Predictions,
    Priors,
    Targets,
)

# Where a point lies from the middle of an object, in its sides.
PLACES = {"top_left": -0.5, "bottom_right": 0.5, "center": 0.0}


class CornerOutput(NamedTuple):
    """What is predicted of each kind of points, by its name."""

    points: dict[str, Predictions]
    tags: dict[str, Tensor]  # [B, H * W] float32, of corners
    frames: Tensor  # [B, 4]
    size: tuple[int, int]  # (H, W) in cells


class TagBranch(nn.Module):
    """A number for each cell, by which corners find each other (CornerNet, sec. 3.3).

    Args:
        channels: of the map.
        kernel: of the first convolution; the second is 1 x 1.
        act: between the two.
    """

    def __init__(self, channels: int, kernel: Count = 3, act: Activation = RELU) -> None:
        super().__init__()
        self.layers = branch(channels, channels, 1, act, kernel)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, H * W] float32."""
        return self.layers(x).flatten(1).float()


class CornerHead(Head):
    """A dense head for each corner, and tags that tell which corners belong to one object.

    Law and Deng 2018, "CornerNet", sec. 3; with centres Duan et al. 2019, "CenterNet: Keypoint
    Triplets". Each dense head learns and finds objects as if these lay about their corner: it has
    points for priors and decodes points. The losses of a name are added.

    Args:
        specs: one feature level.
        points: makes the dense head of each kind of points, `(specs)`; kinds are "top_left",
            "bottom_right" and perhaps "center".
        pool: makes what precedes that of a corner, `(channels, corner=)`, see
            `layers.corner_pool`.
        tags: makes what tells the tags of a corner, `(channels)`, see `TagBranch`.
        tag_loss: what these cost.
        grouping: makes boxes of points, one of `heads.grouping`.
        center_pool: makes what precedes that of centres, `(channels)`, if there are any.
        margin: pixels at the right and lower border that objects are cut off from; 1 as released.

    Raises:
        ValueError: the grouping breaks its contract, there are several levels, a dense head
            decodes no points, or there are other points than poolings.
    """

    ranks_candidates = True

    def __init__(
        self,
        specs: list[FeatureSpec],
        points: dict[str, Callable[..., DenseHead]],
        pool: Callable[..., nn.Module],
        tags: Callable[..., nn.Module],
        tag_loss: PullPush,
        grouping: Grouping,
        center_pool: Callable[..., nn.Module] | None = None,
        margin: Weight = 1.0,
    ) -> None:
        super().__init__()
        check_contract(grouping, Grouping)
        if len(specs) != 1:
            raise ValueError(
                f"CornerHead reads one feature level, the neck delivers {len(specs)}: choose "
                "head=corners with a backbone of hourglasses, each of which has a head then"
            )
        (channels, self.stride) = specs[0]
        heads = {name: head(specs) for name, head in points.items()}
        for name, head in heads.items():
            _check_points(name, head)
        pools = {name: pool(channels, corner=name) for name in CORNERS}
        if center_pool is not None:
            pools["center"] = center_pool(channels)
        _check_kinds(list(heads), list(pools))
        self.points, self.pools = nn.ModuleDict(heads), nn.ModuleDict(pools)
        self.tags = nn.ModuleDict({name: tags(channels) for name in CORNERS})
        self.tag_loss, self.grouping, self.margin = tag_loss, grouping, margin
        self.most = grouping.objects

    def forward(
        self, features: list[Tensor], frames: Tensor, targets: Targets | None = None
    ) -> CornerOutput:
        """Predictions of each kind of points."""
        (feature,) = features
        pooled = {name: pool(feature) for name, pool in self.pools.items()}
        points = {name: head([pooled[name]], frames) for name, head in self.points.items()}
        tags = {name: tell(pooled[name]) for name, tell in self.tags.items()}
        return CornerOutput(points, tags, frames, (feature.shape[-2], feature.shape[-1]))

    def loss(self, output: CornerOutput, targets: Targets) -> dict[str, Tensor]:
        """Terms of the dense heads, those of one name added, and `pull` and `push` of the tags."""
        lying = {name: self._about(name, output, targets) for name in self.points}
        losses = [head.loss(output.points[n], lying[n]) for n, head in self._heads()]
        found = {term: torch.stack([one[term] for one in losses]).sum() for term in losses[0]}
        first, second = (self._tags_of(output, name, lying[name]) for name in CORNERS)
        return found | self.tag_loss(first, second, assignable(lying[CORNERS[0]]))

    def assign(self, output: CornerOutput, targets: Targets) -> tuple[Priors, Assignment]:
        """Those of the top left corners."""
        name = CORNERS[0]
        head = dict(self._heads())[name]
        return head.assign(output.points[name], self._about(name, output, targets))

    def detect(self, output: CornerOutput) -> Candidates:
        """Boxes that the points make, each of one class."""
        found = {
            name: PointMap(head.detect(output.points[name]), output.tags.get(name), output.size)
            for name, head in self._heads()
        }
        boxes, scores, labels = self.grouping(found, output.frames)
        predicted = output.points[CORNERS[0]]
        classes = predicted.logits.shape[-1]
        by_class = scores.new_zeros(*scores.shape, classes)
        by_class = by_class.scatter(2, labels[..., None], scores[..., None])
        return Candidates(boxes, by_class, as_priors(boxes, predicted.priors.canvas))

    def _heads(self) -> list[tuple[str, DenseHead]]:
        return list(self.points.items())  # type: ignore[arg-type]

    def _about(self, name: str, output: CornerOutput, targets: Targets) -> Targets:
        """The objects, cut at the border, then moved so that their middle is the named point."""
        height, width = output.points[name].priors.canvas
        edge = targets.boxes.new_tensor([0.0, 0.0, width - self.margin, height - self.margin])
        boxes = clip(targets.boxes, edge)
        side = sides(boxes)
        return targets._replace(
            boxes=_moved(boxes, PLACES[name]), valid=targets.valid & (side > 0).all(-1)
        )

    def _tags_of(self, output: CornerOutput, name: str, objects: Targets) -> Tensor:
        """The tags [B, M] in the cells of the middles of objects."""
        height, width = output.size
        x, y = (centers(objects.boxes) / self.stride).floor().long().unbind(-1)
        cell = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        return output.tags[name].gather(1, cell)


def _moved(boxes: Tensor, share: float) -> Tensor:
    """Boxes [..., 4] moved by a share of their sides.

    Where they are moved, sides are rounded up to 1/128 of a pixel, so that no rounding takes a
    corner that lies on a border of cells across it.
    """
    if not share:
        return boxes
    point = boxes[..., :2] if share < 0 else boxes[..., 2:]
    return from_center(point, (sides(boxes) * 128).ceil() / 128)


def _check_points(name: str, head: DenseHead) -> None:
    if not head.finds_points:
        raise ValueError(
            f"CornerHead groups points, but {type(head.coder).__name__} decodes a "
            f"{head.coder.kind} of each {name}: choose coder=point, or another head"
        )


def _check_kinds(predicted: list[str], pooled: list[str]) -> None:
    if sorted(predicted) != sorted(pooled):
        raise ValueError(
            f"found dense heads for {', '.join(predicted)}, but poolings for {', '.join(pooled)}: "
            "give `points` those names, and a center_pool if there are centres"
        )
