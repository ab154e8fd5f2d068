"""Every tuple that crosses a border between parts.

Letters, the same everywhere: B images, M padded objects, N priors, C classes, K detections.
Boxes are xyxy pixels of the network input, float32, unless a field says otherwise.
NamedTuples are pytrees: they compile, pin, collate and move between devices as they are.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

CHECKPOINT_FORMAT = 2  # raised when configs inside older checkpoints can no longer be read


class FeatureSpec(NamedTuple):
    """Channels and stride that a backbone or neck promises for one feature level."""

    channels: int
    stride: int  # input pixels per cell


class Picture(NamedTuple):
    """What objects are to be found in: a picture without annotations, or a frame of a video."""

    file: str  # path; of a camera "camera_0"
    image: np.ndarray  # [H, W, 3] uint8, RGB
    number: int | None = None  # of the frame among those that were read, from 0; None: a picture
    seconds: float | None = None  # when the frame is shown; of a camera since its first frame
    rate: float | None = None  # frames a second, of those used; None: unknown


class Lost(NamedTuple):
    """Pictures or frames that could not be read."""

    name: str
    reason: str
    pictures: int = 1


class Sample(NamedTuple):
    """One image with its objects, before batching; NumPy, so that workers hand it over cheaply."""

    image: np.ndarray  # [H, W, 3] uint8, RGB
    boxes: np.ndarray  # [n, 4] float32, xyxy pixels of `image`
    labels: np.ndarray  # [n] int64 in 0..C-1
    ignore: np.ndarray  # [n] bool: VOC difficult, COCO crowd; never assigned to a prior
    id: int  # unique in its data set
    to_original: np.ndarray  # [4] float32 scale x, y and shift x, y: original = box * scale + shift
    frame: np.ndarray  # [4] float32 xyxy: the part of `image` that the picture fills
    dropped: int = 0  # objects left out because a mix had more than it keeps
    unreadable: tuple[int, ...] = ()  # numbers of pictures that others took the place of
    proposals: np.ndarray | None = None  # [k, 4] float32 as `boxes`, where the data have them


class Annotations(NamedTuple):
    """The ground truth of a data set in packed arrays: no Python object per image or box.

    The objects of image i are the rows `offsets[i]:offsets[i + 1]`. Boxes are in pixels of the
    original image.
    """

    image_ids: np.ndarray  # [I] int64, unique
    sizes: np.ndarray  # [I, 2] int64 (height, width)
    offsets: np.ndarray  # [I + 1] int64
    boxes: np.ndarray  # [n, 4] float64 xyxy
    labels: np.ndarray  # [n] int64 in 0..C-1
    crowd: np.ndarray  # [n] bool, COCO iscrowd
    difficult: np.ndarray  # [n] bool, VOC difficult
    areas: np.ndarray  # [n] float64, what COCO's size bins look at
    classes: tuple[str, ...]  # name of each label
    category_ids: tuple[int, ...]  # official id of each label, gaps and all

    def owners(self) -> np.ndarray:
        """[n] int64, the image that each object lies in, as a row of `image_ids`."""
        return np.repeat(np.arange(len(self.image_ids)), np.diff(self.offsets))


class Targets(NamedTuple):
    """The objects of a batch, padded to M rows; a row is real where `valid`."""

    boxes: Tensor  # [B, M, 4]
    labels: Tensor  # [B, M] int64 in 0..C-1
    valid: Tensor  # [B, M] bool
    ignore: Tensor  # [B, M] bool, real rows that are never assigned to a prior


class Proposals(NamedTuple):
    """Boxes that come with a batch for a second stage, padded to P rows; real where `valid`."""

    boxes: Tensor  # [B, P, 4]
    valid: Tensor  # [B, P] bool


class Batch(NamedTuple):
    """One batch, as a loader delivers it and a training step receives it."""

    images: Tensor  # [B, 3, H, W] uint8; normalised on the device
    targets: Targets
    frames: Tensor  # [B, 4] the part of the canvas that the picture fills
    to_original: Tensor  # [B, 4] scale x, y and shift x, y: original = box * scale + shift
    ids: Tensor  # [B] int64
    dropped: Tensor | None = None  # [B] int64, objects that mixes had too many of
    unreadable: Tensor | None = None  # [n] int64, numbers of pictures that others replaced
    proposals: Proposals | None = None  # where the data have them

    @property
    def places(self) -> tuple[Tensor] | tuple[Tensor, Proposals]:
        """Frames, and proposals where there are any: what a detector takes last."""
        return (self.frames,) if self.proposals is None else (self.frames, self.proposals)


class LabelledImages(NamedTuple):
    """One batch for a classifier."""

    images: Tensor  # [B, 3, H, W] uint8; normalised on the device
    labels: Tensor  # [B] int64 in 0..C-1
    unreadable: Tensor | None = None  # [n] int64, as in `Batch`


class Progress(NamedTuple):
    """How far a run has come when a batch of training begins; the same on all devices."""

    images_seen: int  # by all devices, those of this batch among them
    step: int  # optimiser steps made
    steps: int  # of the whole run
    epoch: int = 0  # epochs finished
    epochs: int = 1  # of the whole run, the last perhaps not to its end
    mini_batch: int = 0  # which of the batches that the next optimiser step accumulates this is
    mini_batches: int = 1  # how many these are


class Priors(NamedTuple):
    """Where predictions start from: anchors, points (squares one stride wide) or proposals."""

    boxes: Tensor  # [1, N, 4] of a grid, [B, N, 4] of proposals
    stride: Tensor  # [N] nominal pixels per cell of the level a prior lies on
    level_sizes: tuple[int, ...]  # priors per level, finest first; sums to N
    canvas: tuple[int, int]  # (height, width) of the network input in pixels

    @property
    def level(self) -> Tensor:
        """[N] int64, the level on which each prior lies, 0 the finest."""
        levels = torch.arange(len(self.level_sizes), device=self.boxes.device)
        return torch.cat([levels[i : i + 1].expand(n) for i, n in enumerate(self.level_sizes)])


class PriorRows(NamedTuple):
    """Some of the priors, others for each image, in any order; what a coder may look at."""

    boxes: Tensor  # [B, P, 4]
    stride: Tensor  # [B, P]
    level: Tensor  # [B, P] int64


class Predictions(NamedTuple):
    """The output of a dense head for every prior, float32."""

    logits: Tensor  # [B, N, C]
    deltas: Tensor  # [B, N, 4], or as many numbers as the coder says; by class [B, N, C, 4]
    quality: Tensor | None  # [B, N] logit of objectness, centre-ness or IoU
    priors: Priors


class Candidates(NamedTuple):
    """Decoded predictions, ready to be ranked and suppressed."""

    boxes: Tensor  # [B, N, 4]; class-specific heads [B, N, C, 4]
    scores: Tensor  # [B, N, C] in [0, 1]
    priors: Priors
    deviations: Tensor | None = None  # of each side, shaped as boxes; None where none are predicted
    iou: Tensor | None = None  # [B, N] predicted of the box with its object; None likewise


class Pairs(NamedTuple):
    """Priors beside one object each, for losses on boxes; a prior may stand in several pairs."""

    prior: Tensor  # [B, P] int64
    matched: Tensor  # [B, P] int64, row of Targets
    boxes: Tensor  # [B, P, 4] of the objects
    weight: Tensor  # [B, P] float32; 0 where a row is no pair
    deltas: Tensor | None = None  # [B, P, 4 or 2] what the boxes are encoded to, once matched


class Assignment(NamedTuple):
    """Which object each prior is to predict."""

    matched: Tensor  # [B, N] int64, row of Targets; 0 where neither positive nor ignored
    positive: Tensor  # [B, N] bool
    ignored: Tensor  # [B, N] bool, disjoint from positive: takes no part in classification
    scores: Tensor | None = None  # [B, N, C] soft or multi-hot class targets; None: one-hot
    pairs: Pairs | None = None  # where a prior trains on several boxes; None: on `matched` alone


class Matched(NamedTuple):
    """Everything a loss term may look at. An unmatched prior is its own target."""

    predictions: Predictions
    boxes: Tensor  # [B, N, 4] decoded predictions
    target_boxes: Tensor  # [B, N, 4]
    target_deltas: Tensor  # [B, N, 4]; of points [B, N, 2]
    target_scores: Tensor  # [B, N, C] in [0, 1]; zero for background
    labels: Tensor  # [B, N] int64, class of the matched object
    positive: Tensor  # [B, N] float32 0 or 1
    counted: Tensor  # [B, N] float32 0 or 1: positive or background, not ignored
    pairs: Pairs | None = None  # as in `Assignment`, with deltas


class Detections(NamedTuple):
    """Final boxes of a batch, padded to K rows, scores falling."""

    boxes: Tensor  # [B, K, 4]
    scores: Tensor  # [B, K]
    labels: Tensor  # [B, K] int64
    valid: Tensor  # [B, K] bool
