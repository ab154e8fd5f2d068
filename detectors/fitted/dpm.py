"""Deformable part models: for each class a mixture of components with parts that may move."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from detectors.files import whole_file
from detectors.fitted import Fitted, Windows, Work
from detectors.fitted.deformable import (
    BIAS,
    CELL,
    OCTAVES,
    Component,
    FeatureLevel,
    Placement,
    feature_level,
    feature_levels,
    one_sided,
    part_boxes,
    placed_features,
    placements,
    root_boxes,
    root_only,
    scales,
    with_parts,
)
from detectors.fitted.dpm_boxes import cut, filter_places, least_squares, moved, moves
from detectors.fitted.fhog import fhog, mirrored
from detectors.fitted.hog import apart
from detectors.fitted.latent_svm import fitted_component
from detectors.fitted.pyramid import cut_out
from detectors.ops.numpy_boxes import iou, overlap, shape_iou
from detectors.ranges import Count, Positive, Share, Whole
from detectors.structures import Sample

FEWEST = 20  # percentile of the areas of a component's objects that its root has
_HARD = -1.0  # negatives that score more belong into the cache


class Example(NamedTuple):
    """An object with what is around it."""

    image: np.ndarray  # [h, w, 3] uint8
    box: np.ndarray  # [4] xyxy in its pixels


class Pose(NamedTuple):
    """A component or its mirror image, as it is looked for."""

    number: int  # of the component in its mixture
    mirrored: bool
    component: Component  # mirrored if so


class Dpm(Fitted):
    """Finds objects by a coarse filter and finer ones for parts, which may be displaced.

    Felzenszwalb et al. 2010. The objects of a class are divided by aspect ratio into components.
    The root of each is fitted to its objects in one shape, those that look to the other side
    mirrored, then to where it or its mirror image fits best in the pictures; then parts are cut out
    of it and fitted as well. Each round finds the best placements on the objects and the worst
    false ones, of which those that still count are kept (data mining, sec. 4.4). At last boxes are
    predicted from the places of all filters (sec. 7.1). A score is the logistic function of the
    filters' score, so 0.5 is its threshold.

    Differences to voc-release5: the hinge loss is squared; a picture is resized for each scale, by
    OpenCV; false placements are searched in the same pictures in all rounds; scores are not changed
    by what else is in the picture.

    Args:
        num_classes: of the data.
        components: aspects of each class.
        parts: of each component.
        side: cells of a part.
        interval: scales in an octave.
        around: cells outside the picture into which roots may reach.
        least, most: square pixels of a root.
        mirrored: whether the mirror image of each component is looked for too, as one that shares
            its numbers; which of both an object fits is latent.
        objects: most of each class that are learnt.
        pictures: in which false placements are searched.
        hard: most of them of one picture, for each component and its mirror image, none of which
            overlaps a worse one by more than half. Where not all objects are annotated, those left
            out are among them.
        cache: most false placements that are kept, for each component.
        overlap: IoU that a placement on an object has with it at least.
        beside: that a false one has with any object of the class at most.
        cost: C.
        roots, moves: rounds of roots alone, and of roots and parts.
        iterations: of L-BFGS in a round.
        threshold: scores of the filters that are found.
    """

    def __init__(
        self,
        num_classes: Count,
        components: Count = 2,
        parts: Count = 6,
        side: Count = 6,
        interval: Count = 5,
        around: Whole = 2,
        least: Positive = 1500.0,
        most: Positive = 5000.0,
        mirrored: bool = True,
        objects: Count = 150,
        pictures: Count = 40,
        hard: Count = 10,
        cache: Count = 2000,
        overlap: Share = 0.6,
        beside: Share = 0.3,
        cost: Positive = 0.002,
        roots: Count = 2,
        moves: Count = 4,
        iterations: Count = 100,
        threshold: float = -1.0,
    ) -> None:
        super().__init__()
        self.num_classes, self.components = num_classes, components
        self.parts, self.side, self.interval, self.around = parts, side, interval, around
        self.least, self.most, self.mirrored, self.objects = least, most, mirrored, objects
        self.pictures, self.hard, self.cache = pictures, hard, cache
        self.overlap, self.beside, self.cost = overlap, beside, cost
        self.iterations, self.threshold = iterations, threshold
        rounds = [f"roots {number}" for number in range(1, roots + 1)]
        rounds += [f"parts {number}" for number in range(1, moves + 1)]
        self.stages = ("objects", "shapes", *rounds, "boxes")

    def described(self) -> Mapping[str, object]:
        """How many filters there are, and their cells if they are known."""
        if "counts" not in self._buffers:
            return {"filters": f"{self.components} x (1 + {self.parts}) for each class"}
        shapes = [
            "{} x {}".format(*tensor.shape[:2])
            for name, tensor in self._buffers.items()
            if name.startswith("root_") and tensor is not None
        ]
        return {"filters": f"{len(shapes)} x (1 + {self.parts})", "cells": ", ".join(shapes)}

    def mixture(self, label: int) -> list[Component]:
        """The components of a class; none where the training pictures show none of it."""
        return [self._component(label, number) for number in range(self.array("counts")[label])]

    def _component(self, label: int, number: int) -> Component:
        names = ("root", "parts", "anchors", "deformations", "octaves")
        arrays = {name: self.array(f"{name}_{label}_{number}") for name in names}
        return Component(**arrays, bias=float(self.array(f"bias_{label}_{number}")[0]))

    def _keep_mixture(self, label: int, mixture: list[Component]) -> None:
        for number, component in enumerate(mixture):
            numbers = component._asdict() | {"bias": np.array([component.bias], np.float32)}
            self.keep(**{f"{name}_{label}_{number}": value for name, value in numbers.items()})

    def _poses(self, mixture: list[Component]) -> list[Pose]:
        """What is looked for: the components, and their mirror images if they have them."""
        poses = [Pose(number, False, component) for number, component in enumerate(mixture)]
        turned = [Pose(n, True, component.mirrored()) for n, _, component in poses]
        return poses + turned if self.mirrored else poses

    def scan(self, picture: np.ndarray) -> Windows:
        """Boxes of the placements that score above the threshold, and sigmoids of the scores."""
        levels = feature_levels(picture, self.interval, self.around)
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0, np.float32)]
        labels = [np.zeros(0, np.int64)]
        for label in range(self.num_classes):
            for pose in self._poses(self.mixture(label)):
                weights = self.array(f"box_{label}_{pose.number}")
                for level in levels:
                    own, score = self._seen(pose, level, weights, picture.shape[:2])
                    boxes.append(own)
                    scores.append(score)
                    labels.append(np.full(len(own), label))
        squashed = 1 / (1 + np.exp(-np.concatenate(scores)))
        return Windows(np.concatenate(boxes).astype(np.float32), squashed, np.concatenate(labels))

    def _seen(
        self, pose: Pose, level: FeatureLevel, weights: np.ndarray, size: tuple[int, ...]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predicted boxes [n, 4] within the picture, and scores [n]."""
        found = placements(pose.component, level)
        y, x = (found.scores > self.threshold).nonzero()
        windows, places = _places(pose, level, y, x, found.parts(y, x), size)
        return cut(moved(windows, places @ weights, pose.mirrored), *size), found.scores[y, x]

    def fit(self, stage: str, work: Work) -> Mapping[str, float]:
        if stage == "objects":
            return self._collect(work)
        if stage == "shapes":
            return self._shapes(work)
        return self._boxes(work) if stage == "boxes" else self._round(stage, work)

    def _collect(self, work: Work) -> Mapping[str, float]:
        """Cuts the objects out of their pictures, with half of their sides around."""
        found: list[list[Example]] = [[] for _ in range(self.num_classes)]
        for sample in work.tracked(work.examples, "objects"):
            for label, own in enumerate(found):
                own.extend(_cut(sample, label, self.least / 4))
        for label, own in enumerate(found):
            chosen = work.random("objects", label).permutation(len(own))[: self.objects]
            arrays = [value for row in chosen for value in own[row]]
            np.savez(work.folder / f"objects_{label}.npz", *arrays)
        told = {name: len(own) for name, own in zip(work.classes, found, strict=True)}
        if not any(told.values()):
            raise ValueError(
                f"no object of the training pictures has {self.least / 4:.0f} square pixels: give "
                "larger pictures, or a smaller part.fitted.least"
            )
        return {f"objects of {name}": count for name, count in told.items()}

    def _objects(self, label: int, work: Work) -> list[Example]:
        """What was cut out of a class."""
        with np.load(work.folder / f"objects_{label}.npz") as stored:
            arrays = [stored[f"arr_{number}"] for number in range(len(stored.files))]
        return [Example(*pair) for pair in zip(arrays[::2], arrays[1::2], strict=True)]

    def _shapes(self, work: Work) -> Mapping[str, float]:
        """Divides the objects by aspect ratio, and fits a root to each part in one shape."""
        counts, told = [], {}
        for label, name in enumerate(work.classes):
            examples = self._objects(label, work)
            mixture: list[Component] = []
            for own in _by_aspect(examples, self.components):
                root = self._root(own)
                shown = [_warped(example, root) for example in own]
                if self.mirrored:
                    shown = _looking_alike(shown, work.random("sides", label, len(mixture)))
                rest = np.append(np.float32(BIAS), np.zeros(OCTAVES, np.float32))
                positives = [np.append(features.ravel(), rest) for features in shown]
                rows = _rows(positives, root), _rows(self._anywhere(label, root, work), root)
                root, told[f"cost of {name} {len(mixture)}"] = fitted_component(
                    root, *rows, self.cost, self.iterations
                )
                mixture.append(root)
            counts.append(len(mixture))
            self._keep_mixture(label, mixture)
        self.keep(counts=np.array(counts))
        return told

    def _root(self, examples: list[Example]) -> Component:
        sides = np.array([example.box[2:] - example.box[:2] for example in examples])
        aspect = np.exp(np.log(sides[:, 0] / sides[:, 1]).mean())
        area = np.clip(np.percentile(sides.prod(axis=1), FEWEST), self.least, self.most)
        height, width = np.sqrt(area / aspect) / CELL, np.sqrt(area * aspect) / CELL
        return root_only(max(3, round(height)), max(3, round(width)), self.side)

    def _anywhere(self, label: int, root: Component, work: Work) -> list[np.ndarray]:
        """Features of a root at places drawn beside the objects."""
        rows, none = [], np.zeros((0, 2), np.int64)
        draw = work.random("anywhere", label)
        for sample, levels in self._searched("anywhere", work):
            for level in levels:
                y, x = np.indices(placements(root, level).scores.shape).reshape(2, -1)
                free = self._free(sample, label, root_boxes(root, level, y, x))
                for row in draw.permutation(free.nonzero()[0])[: self.hard // len(levels) + 1]:
                    at = int(y[row]), int(x[row])
                    rows.append(placed_features(root, level, *at, none, False))
        return rows

    def _searched(self, name: str, work: Work) -> Iterator[tuple[Sample, list[FeatureLevel]]]:
        """Some pictures, the same in all rounds, with their features, which are made once."""
        draw = work.random("pictures")
        rows = draw.permutation(len(work.examples))[: self.pictures].tolist()
        for row in work.tracked(rows, name):
            sample, file = work.examples[row], work.folder / f"levels_{row}.npz"
            if not file.is_file():
                levels = feature_levels(sample.image, self.interval, self.around)
                with whole_file(file, "wb") as stream:
                    np.savez(stream, *(m for level in levels for m in (level.coarse, level.fine)))
            yield sample, self._stored(sample.image, file)

    def _stored(self, picture: np.ndarray, file: Path) -> list[FeatureLevel]:
        """The features that were made of a picture."""
        with np.load(file) as stored:
            maps = [stored[f"arr_{number}"] for number in range(len(stored.files))]
        sizes = scales(picture, self.interval)
        pairs = zip(sizes, maps[::2], maps[1::2], strict=True)
        return [FeatureLevel(scale, self.around, *pair) for scale, *pair in pairs]

    def _free(self, sample: Sample, label: int, boxes: np.ndarray) -> np.ndarray:
        """[n] bool: whether boxes [n, 4] lie beside all objects of a class."""
        own = sample.labels == label
        met = overlap(boxes[:, None], sample.boxes[own], sample.ignore[own])
        return np.max(met, axis=1, initial=0.0) <= self.beside

    def _round(self, stage: str, work: Work) -> Mapping[str, float]:
        """Places each component anew, and fits it to that."""
        told = {}
        for label, name in enumerate(work.classes):
            mixture = self.mixture(label)
            if stage == "parts 1":
                mixture = [with_parts(root, self.parts, self.side) for root in mixture]
            if not mixture:
                continue
            positives = self._on_objects(label, mixture, work)
            negatives = self._false(label, mixture, stage, work)
            for number, rows in enumerate(zip(positives, negatives, strict=True)):
                if not all(map(len, rows)):
                    continue
                component, cost = fitted_component(
                    mixture[number], *rows, self.cost, self.iterations
                )
                mixture[number] = component
                told[f"cost of {name} {number}"] = cost
            told[f"objects of {name}"] = sum(map(len, positives))
            told[f"others of {name}"] = sum(map(len, negatives))
            self._keep_mixture(label, mixture)
        return told

    def _on_objects(self, label: int, mixture: list[Component], work: Work) -> list[np.ndarray]:
        """Features [n, D] for each component, of the objects on which it is the best one."""
        rows: list[list[np.ndarray]] = [[] for _ in mixture]
        for _, best in self._placed(label, mixture, work):
            place = best.y, best.x, best.parts, best.mirrored
            component = mixture[best.component]
            rows[best.component].append(placed_features(component, best.level, *place))
        return [_rows(own, component) for own, component in zip(rows, mixture, strict=True)]

    def _placed(
        self, label: int, mixture: list[Component], work: Work
    ) -> Iterator[tuple[Example, Placement]]:
        """The objects of a class that a component fits, and where it does best."""
        poses = self._poses(mixture)
        for example in work.tracked(self._objects(label, work), "objects"):
            levels = near_levels(example, poses, self.interval, self.around, self.overlap)
            best = best_on_object(example, poses, levels, self.overlap)
            if best is not None:
                yield example, best

    def _false(
        self, label: int, mixture: list[Component], stage: str, work: Work
    ) -> list[np.ndarray]:
        """Features [n, D] for each component: those kept of the last round that count, and more."""
        rows: list[list[np.ndarray]] = [[] for _ in mixture]
        for sample, levels in self._searched(stage, work):
            for pose in self._poses(mixture):
                own = mixture[pose.number]
                rows[pose.number].extend(self._false_in(sample, label, pose, own, levels))
        together = []
        for number, component in enumerate(mixture):
            found = _rows(rows[number], component)
            if not stage.endswith(" 1"):  # the rounds before are of the same numbers
                last = self.stages[self.stages.index(stage) - 1]
                kept = np.load(work.folder / f"{last}_{label}_{number}.npy")
                found = _different(np.concatenate([kept, found]))
            margins = found @ component.vector().astype(np.float32)
            hardest = np.argsort(-margins, kind="stable")[: self.cache]
            together.append(found[hardest[margins[hardest] > _HARD - 0.2]])
            np.save(work.folder / f"{stage}_{label}_{number}.npy", together[-1])
        return together

    def _false_in(
        self,
        sample: Sample,
        label: int,
        pose: Pose,
        component: Component,
        levels: list[FeatureLevel],
    ) -> Iterator[np.ndarray]:
        """Features [D] of the worst false placements in a picture that are not of one place."""
        searched = [placements(pose.component, level) for level in levels]
        places, boxes, scores = [np.zeros((0, 3), np.int64)], [np.zeros((0, 4))], [np.zeros(0)]
        for number, (level, found) in enumerate(zip(levels, searched, strict=True)):
            y, x = (found.scores > _HARD).nonzero()
            there = root_boxes(component, level, y, x)
            free = self._free(sample, label, there)
            y, x, there = y[free], x[free], there[free]
            worst = apart(there, found.scores[y, x], self.hard)
            y, x = y[worst], x[worst]
            places.append(np.stack([np.full(len(y), number), y, x], axis=-1))
            boxes.append(there[worst])
            scores.append(found.scores[y, x])
        rows = np.concatenate(places)
        for row in apart(np.concatenate(boxes), np.concatenate(scores), self.hard):
            number, v, u = rows[row].tolist()
            (parts,) = searched[number].parts(np.array([v]), np.array([u]))
            yield placed_features(component, levels[number], v, u, parts, pose.mirrored)

    def _boxes(self, work: Work) -> Mapping[str, float]:
        """Fits the prediction of boxes to the objects of each component."""
        before, after, roots = [0.0], [0.0], 0
        for label in range(self.num_classes):
            mixture = self.mixture(label)
            if not mixture:
                continue
            found: list[list[tuple[np.ndarray, ...]]] = [[] for _ in mixture]
            for example, best in self._placed(label, mixture, work):
                found[best.component].append(_pair(example, best, mixture[best.component]))
            for number, component in enumerate(mixture):
                wide = 2 * (1 + len(component.parts)) + 1
                empty = np.zeros((0, 4)), np.zeros((0, 4)), np.zeros((0, wide)), np.zeros((0, 4))
                columns = zip(empty, *found[number], strict=True)
                windows, boxes, places, wanted = (np.concatenate(parts) for parts in columns)
                weights = least_squares(places, wanted).astype(np.float32)
                self.keep(**{f"box_{label}_{number}": weights})
                roots += not weights.any()
                before += iou(windows, boxes).tolist()
                after += iou(moved(windows, places @ weights, False), boxes).tolist()
        means = [float(np.mean(values[1:] or values)) for values in (before, after)]
        told: dict[str, float] = dict(zip(("IoU of roots", "IoU"), means, strict=True))
        return told | ({"components with boxes of roots": roots} if roots else {})


def _places(
    pose: Pose,
    level: FeatureLevel,
    y: np.ndarray,
    x: np.ndarray,
    parts: np.ndarray,
    size: tuple[int, ...],
) -> tuple[np.ndarray, np.ndarray]:
    """Windows [n, 4] within a picture of this size, and `filter_places` in them."""
    roots = root_boxes(pose.component, level, y, x)
    filters = np.concatenate([roots[:, None], part_boxes(pose.component, level, parts)], axis=1)
    windows = cut(roots, *size)
    return windows, filter_places(windows, filters, pose.mirrored)


def _pair(example: Example, best: Placement, component: Component) -> tuple[np.ndarray, ...]:
    """Window, box [1, 4], places of the filters and moves of an object, as if none was mirrored."""
    pose = Pose(best.component, best.mirrored, component)
    at = np.array([best.y]), np.array([best.x]), best.parts[None]
    windows, places = _places(pose, best.level, *at, example.image.shape[:2])
    wanted = moves(windows, example.box[None], best.mirrored)
    unturned = moved(windows, wanted, False)
    return windows, unturned, places, wanted


def near_levels(
    example: Example, poses: list[Pose], interval: int, around: int, overlap: float
) -> list[FeatureLevel]:
    """Those levels of an object's picture in which a root has about its size."""
    sides = example.box[2:] - example.box[:2]
    roots = np.array([pose.component.root.shape[1::-1] for pose in poses]) * float(CELL)
    return [
        feature_level(example.image, scale, around)
        for scale in scales(example.image, interval)
        if shape_iou(roots * scale, sides).max() >= overlap
    ]


def best_on_object(
    example: Example, poses: list[Pose], levels: list[FeatureLevel], overlap: float
) -> Placement | None:
    """The placement with the highest score among those that overlap the object enough.

    Args:
        levels: of the example's image.
        overlap: IoU of the root's box with that of the object at least.
    """
    best, score = None, -np.inf
    for pose in poses:
        for level in levels:
            found = placements(pose.component, level)
            y, x = np.indices(found.scores.shape).reshape(2, -1)
            near = iou(root_boxes(pose.component, level, y, x), example.box) >= overlap
            ranked = np.where(near, found.scores.ravel(), -np.inf)
            if ranked.max(initial=-np.inf) > score:
                row = ranked.argmax()
                best, score = (pose, level, found, y[row], x[row]), float(ranked[row])
    if best is None:
        return None
    pose, level, found, v, u = best
    (parts,) = found.parts(np.array([v]), np.array([u]))
    return Placement(pose.number, pose.mirrored, level, int(v), int(u), parts, score)


def _cut(sample: Sample, label: int, smallest: float) -> Iterator[Example]:
    """The objects of a class that are large enough, with half of their sides around."""
    chosen = (sample.labels == label) & ~sample.ignore
    height, width = sample.image.shape[:2]
    for box in sample.boxes[chosen].astype(np.float64):
        sides = box[2:] - box[:2]
        if sides.prod() < smallest:
            continue
        around = np.maximum(sides / 2, 2 * CELL)
        left, top = np.floor((box[:2] - around).clip(min=0)).astype(int)
        right, bottom = np.ceil((box[2:] + around).clip(max=[width, height])).astype(int)
        yield Example(sample.image[top:bottom, left:right].copy(), box - [left, top, left, top])


def _by_aspect(examples: list[Example], count: int) -> list[list[Example]]:
    """As many examples in each part, which differ in aspect ratio; at most `count` parts."""
    aspects = [(e.box[2] - e.box[0]) / (e.box[3] - e.box[1]) for e in examples]
    order = np.argsort(aspects, kind="stable")
    parts = np.array_split(order, min(count, len(examples) // 2) or 1)
    return [[examples[row] for row in part] for part in parts if len(part)]


def _warped(example: Example, root: Component) -> np.ndarray:
    """Features [h, w, 32] of the root's cells, stretched to the object."""
    height, width = root.root.shape[:2]
    cell = (example.box[2:] - example.box[:2]) / [width, height]
    box = np.concatenate([example.box[:2] - cell, example.box[2:] + cell])
    return fhog(cut_out(example.image, box, ((height + 2) * CELL, (width + 2) * CELL)), CELL)


def _looking_alike(shown: list[np.ndarray], draw: np.random.Generator) -> list[np.ndarray]:
    """Features [h, w, 32] of objects, some mirrored so that all look to the same side."""
    turned = [np.ascontiguousarray(mirrored(one)) for one in shown]
    rows, others = (np.stack(maps).reshape(len(maps), -1) for maps in (shown, turned))
    chosen = one_sided(rows, others, draw)
    return [other if turn else one for one, other, turn in zip(shown, turned, chosen, strict=True)]


def _different(rows: np.ndarray) -> np.ndarray:
    """The rows without those that repeat an earlier one."""
    first: dict[bytes, int] = {}
    for number, row in enumerate(rows):
        first.setdefault(hashlib.blake2b(row.tobytes(), digest_size=16).digest(), number)
    return rows[list(first.values())]


def _rows(rows: list[np.ndarray], component: Component) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, component.vector().size)
