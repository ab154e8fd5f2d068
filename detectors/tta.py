"""Test-time augmentation, by which a detector is asked several times, and what else is done then.

Each of these stands in the place of a `Detector`: `(images, frames) -> Detections`.
"""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.detector import Detector
from detectors.fitted.detector import FittedDetector
from detectors.layers.truncated import truncated
from detectors.ops.boxes import centers, from_center, sides
from detectors.ops.selection import gather_rows
from detectors.ops.suppression import gaussian, soft_scores
from detectors.ranges import Count, Positive
from detectors.structures import Candidates, Detections, Proposals

Places = tuple[Tensor, *tuple[Proposals, ...]]  # as `Batch.places`


class FlipAverage(nn.Module):
    """Heat maps and sizes averaged with those of the mirror image, centres from the plain one.

    CenterNet, sec. 5 and its `detectors/ctdet.py`. Averaged are scores, after the sigmoid, and
    sides of decoded boxes, before peaks are looked for; a side below zero counts as zero.

    Args:
        detector: of points on one level, one prior a cell.

    Raises:
        ValueError: it has others; at the first picture. Or it has none, because it is fitted.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        if isinstance(detector, FittedDetector):
            raise ValueError(
                "FlipAverage averages the maps of a network, and a fitted model has none: choose "
                "tta=flip_merged or scales"
            )
        self.detector = detector

    @property
    def most_found(self) -> int | None:
        """That of the detector."""
        return self.detector.most_found

    def canvases(self, canvas: tuple[int, int]) -> set[tuple[int, int]]:
        """The sizes at which the detector is asked about a picture on this canvas."""
        return {canvas}

    @torch.no_grad()
    def forward(self, images: Tensor, frames: Tensor, *_: Proposals) -> Detections:
        """Detections in pixels of the images."""
        plain = self.detector.candidates(images, frames)
        mirrored = self.detector.candidates(images.flip(-1), mirror(frames, images.shape[-1]))
        return self.detector.postprocess(_averaged(plain, mirrored), frames)


def _averaged(plain: Candidates, mirrored: Candidates) -> Candidates:
    side = (sides(plain.boxes) + _columns_turned(sides(mirrored.boxes), mirrored)) / 2
    scores = (plain.scores + _columns_turned(mirrored.scores, mirrored)) / 2
    return Candidates(from_center(centers(plain.boxes), side), scores, plain.priors)


def _columns_turned(values: Tensor, candidates: Candidates) -> Tensor:
    """Values [B, H * W, k] of the cells of a grid with its columns in reverse order."""
    height, width = candidates.priors.canvas
    stride = math.isqrt(height * width // values.shape[1])
    rows = height // stride
    if len(candidates.priors.level_sizes) != 1 or rows * (width // stride) != values.shape[1]:
        raise ValueError(
            f"averaging with the mirror image needs one level and one prior a cell, but levels "
            f"have {candidates.priors.level_sizes}: choose tta=scales"
        )
    return values.unflatten(1, (rows, -1)).flip(2).flatten(1, 2)


def _changed(places: Places, change: Callable[[Tensor], Tensor]) -> Places:
    """Frames, and the boxes of proposals where there are any, each changed."""
    frames, *proposals = places
    return change(frames), *(given._replace(boxes=change(given.boxes)) for given in proposals)


def mirror(boxes: Tensor, width: int) -> Tensor:
    """Boxes [..., 4] in the mirror image of a picture of this width."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    return torch.stack([width - x2, y1, width - x1, y2], dim=-1)


class MultiScaleTTA(nn.Module):
    """Detections at several sizes, and perhaps of mirror images, merged by soft-NMS.

    Bodla et al. 2017, Gaussian, class by class; CenterNet, sec. 5: scales 0.5, 0.75, 1, 1.25, 1.5.

    Args:
        detector: what is asked.
        scales: of the canvas; at 1 it stays as it is.
        flips: False for the picture, True for its mirror image.
        sigma: of the decay `exp(-IoU^2 / sigma)`.
        multiple: sides of other canvases are rounded to it.
        detections: most detections of an image.
        view: `(detector) -> module` that is asked instead, such as `FlipAverage`.
    """

    def __init__(
        self,
        detector: Detector,
        scales: Sequence[float],
        flips: Sequence[bool],
        sigma: Positive,
        multiple: Count,
        detections: Count,
        view: Callable[[Detector], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.asked: Any = detector if view is None else view(detector)
        self.scales, self.flips = scales, flips
        self.sigma, self.multiple, self.detections = sigma, multiple, detections

    @property
    def most_found(self) -> int | None:
        """As of a `detector.Detector`; every view may find others."""
        of_view = self.asked.most_found
        if of_view is None:
            return self.detections
        return min(self.detections, of_view * len(self.scales) * len(self.flips))

    def canvases(self, canvas: tuple[int, int]) -> set[tuple[int, int]]:
        """The sizes at which the detector is asked about a picture on this canvas."""
        return {self._scaled(canvas, scale) for scale in self.scales}

    def _scaled(self, canvas: tuple[int, int], scale: float) -> tuple[int, int]:
        if scale == 1:
            return canvas
        height, width = (max(round(s * scale / self.multiple), 1) * self.multiple for s in canvas)
        return height, width

    @torch.no_grad()
    def forward(self, images: Tensor, frames: Tensor, *proposals: Proposals) -> Detections:
        """Detections in pixels of the images."""
        views = [(scale, flip) for scale in self.scales for flip in self.flips]
        found = [self._at(images, (frames, *proposals), scale, flip) for scale, flip in views]
        boxes, scores, labels, valid = map(torch.cat, zip(*found, strict=True), [1] * 4)
        decay = partial(gaussian, sigma=self.sigma)
        scores = soft_scores(boxes, scores * valid, labels, decay)
        best, index = scores.topk(min(self.detections, scores.shape[1]), dim=1)
        return Detections(
            gather_rows(boxes, index), best, labels.gather(1, index), valid.gather(1, index)
        )

    def _at(self, images: Tensor, places: Places, scale: float, flip: bool) -> Detections:
        """Detections in the picture of another size, in pixels of the given one."""
        height, width = images.shape[-2:]
        size = self._scaled((height, width), scale)
        if size != (height, width):
            images = F.interpolate(images.float(), size, mode="bilinear", antialias=True)
        factor = places[0].new_tensor([size[1] / width, size[0] / height] * 2)
        places = _changed(places, lambda boxes: boxes * factor)
        if flip:
            turned = _changed(places, lambda boxes: mirror(boxes, size[1]))
            found = self.asked(images.flip(-1), *turned)
            found = found._replace(boxes=mirror(found.boxes, size[1]))
        else:
            found = self.asked(images, *places)
        return found._replace(boxes=found.boxes / factor)


class TruncatedSVD(nn.Module):
    """The detector with each of some large linear layers as two thin ones (Fast R-CNN, sec. 3.1).

    The detector keeps its own weights, from which those of the thin layers follow.

    Args:
        detector: with layers of these names.
        ranks: of the thin layers, by the last name of the large one.

    Raises:
        ValueError: no linear layer has a name, or a rank is not below that of its layer.
    """

    def __init__(self, detector: Detector, ranks: Mapping[str, Count]) -> None:
        super().__init__()
        self.asked: Any = detector
        linear = {n: part for n, part in detector.named_modules() if isinstance(part, nn.Linear)}
        for name, rank in ranks.items():
            places = [place for place in linear if place.rpartition(".")[2] == name]
            if not places:
                raise ValueError(
                    f"no linear layer is called {name}, which was to become two thin ones: choose "
                    "model=fast_rcnn, or name layers of this model in tta.ranks"
                )
            for place in places:
                thin = truncated(linear[place], rank)
                self.asked = _with(self.asked, place.split("."), thin)

    @property
    def most_found(self) -> int | None:
        """That of the detector."""
        return self.asked.most_found

    def canvases(self, canvas: tuple[int, int]) -> set[tuple[int, int]]:
        """The sizes at which the detector is asked about a picture on this canvas."""
        return {canvas}

    @torch.no_grad()
    def forward(self, images: Tensor, frames: Tensor, *proposals: Proposals) -> Detections:
        """Detections in pixels of the images."""
        return self.asked(images, frames, *proposals)


def _with(module: nn.Module, place: Sequence[str], layer: nn.Module) -> nn.Module:
    """The module with another layer in a place; all else is shared."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    name, *rest = place
    inner = twin._modules[name]
    assert inner is not None
    twin._modules[name] = _with(inner, rest, layer) if rest else layer
    return twin
