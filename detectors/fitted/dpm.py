"""Deformable part models: for each class a mixture of components with parts that may move."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from detectors.fitted import Fitted, Windows, Work
from detectors.fitted.deformable import (
    BIAS,
    CELL,
    Component,
    FeatureLevel,
    Placement,
    feature_levels,
    placed_features,
    placements,
    root_boxes,
    root_only,
    with_parts,
)
from detectors.fitted.fhog import fhog
from detectors.fitted.latent_svm import fitted_component
from detectors.fitted.pyramid import cut_out
from detectors.ops.numpy_boxes import iou, overlap
from detectors.ranges import Count, Positive, Share, Whole
from detectors.structures import Sample

FEWEST = 20  # percentile of the areas of a component's objects that its root has
_HARD = -1.0  # negatives that score more belong into the cache


class Example(NamedTuple):
    """An object with what is around it."""

    image: np.ndarray  # [h, w, 3] uint8
    box: np.ndarray  # [4] xyxy in its pixels


class Dpm(Fitted):
    """Finds objects by a coarse filter and finer ones for parts, which may be displaced.

    Felzenszwalb et al. 2010. The objects of a class are divided by aspect ratio into components.
    The root of each is fitted to its objects in one shape, then to where it fits best in the
    pictures, then parts are cut out of it and fitted as well. Each round finds the best placements
    on the objects and the worst false ones, of which those that still count are kept (data mining,
    sec. 4.4). A score is the logistic function of the filters' score, so 0.5 is its threshold.

    Differences to voc-release5: a component is not divided into a left and a right one, but learns
    mirror images; the hinge loss is squared; components are fitted each by itself; a picture is
    resized for each scale, by OpenCV; boxes are those of roots.

    Args:
        num_classes: of the data.
        components: aspects of each class.
        parts: of each component.
        side: cells of a part.
        interval: scales in an octave.
        around: cells outside the picture into which roots may reach.
        least, most: square pixels of a root.
        mirrored: whether mirror images of the objects are learnt too.
        objects: most of each class that are learnt, mirror images not counted.
        pictures: in which false placements are searched in a round.
        hard: most of them of one picture, for each component.
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
        hard: Count = 30,
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
        self.stages = ("objects", "shapes", *rounds)

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
        names = ("root", "parts", "anchors", "deformations")
        arrays = {name: self.array(f"{name}_{label}_{number}") for name in names}
        return Component(**arrays, bias=float(self.array(f"bias_{label}_{number}")[0]))

    def _keep_mixture(self, label: int, mixture: list[Component]) -> None:
        for number, component in enumerate(mixture):
            numbers = component._asdict() | {"bias": np.array([component.bias], np.float32)}
            self.keep(**{f"{name}_{label}_{number}": value for name, value in numbers.items()})

    def scan(self, picture: np.ndarray) -> Windows:
        """Boxes of the roots whose placements score above the threshold, as sigmoids of these."""
        levels = feature_levels(picture, self.interval, self.around)
        boxes, scores = [np.zeros((0, 4))], [np.zeros(0, np.float32)]
        labels = [np.zeros(0, np.int64)]
        for label in range(self.num_classes):
            for component in self.mixture(label):
                for level in levels:
                    found = placements(component, level).scores
                    y, x = (found > self.threshold).nonzero()
                    boxes.append(root_boxes(component, level, y, x))
                    scores.append(found[y, x])
                    labels.append(np.full(len(y), label))
        squashed = 1 / (1 + np.exp(-np.concatenate(scores)))
        return Windows(np.concatenate(boxes).astype(np.float32), squashed, np.concatenate(labels))

    def fit(self, stage: str, work: Work) -> Mapping[str, float]:
        if stage == "objects":
            return self._collect(work)
        if stage == "shapes":
            return self._shapes(work)
        return self._round(stage, work)

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
        """What was cut out of a class, and its mirror images."""
        with np.load(work.folder / f"objects_{label}.npz") as stored:
            arrays = [stored[f"arr_{number}"] for number in range(len(stored.files))]
        given = [Example(*pair) for pair in zip(arrays[::2], arrays[1::2], strict=True)]
        return given + [_flipped(example) for example in given] if self.mirrored else given

    def _shapes(self, work: Work) -> Mapping[str, float]:
        """Divides the objects by aspect ratio, and fits a root to each part in one shape."""
        counts, told = [], {}
        for label, name in enumerate(work.classes):
            examples = self._objects(label, work)
            mixture: list[Component] = []
            for own in _by_aspect(examples, self.components):
                root = self._root(own)
                shape = root.root.shape[:2]
                positives = [_warped(example, *shape) for example in own]
                negatives = self._anywhere(label, root, work)
                rows = _rows(positives, root), _rows(negatives, root)
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
        rows = []
        for sample, levels, draw in self._searched(label, "anywhere", work):
            for level in levels:
                y, x = np.indices(placements(root, level).scores.shape).reshape(2, -1)
                free = self._free(sample, label, root_boxes(root, level, y, x))
                for row in draw.permutation(free.nonzero()[0])[: self.hard // len(levels) + 1]:
                    parts = np.zeros((0, 2), np.int64)
                    rows.append(placed_features(root, level, int(y[row]), int(x[row]), parts))
        return rows

    def _searched(
        self, label: int, name: str, work: Work
    ) -> Iterator[tuple[Sample, list[FeatureLevel], np.random.Generator]]:
        """Some pictures, drawn, with their features."""
        draw = work.random(name, label)
        rows = draw.permutation(len(work.examples))[: self.pictures].tolist()
        for row in work.tracked(rows, name):
            sample = work.examples[row]
            yield sample, feature_levels(sample.image, self.interval, self.around), draw

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
        for example in work.tracked(self._objects(label, work), "objects"):
            levels = feature_levels(example.image, self.interval, self.around)
            best = best_on_object(example, mixture, levels, self.overlap)
            if best is not None:
                component, level = mixture[best.component], levels[best.level]
                place = best.y, best.x, best.parts
                rows[best.component].append(placed_features(component, level, *place))
        return [_rows(own, component) for own, component in zip(rows, mixture, strict=True)]

    def _false(
        self, label: int, mixture: list[Component], stage: str, work: Work
    ) -> list[np.ndarray]:
        """Features [n, D] for each component: those kept of the last round that count, and more."""
        rows: list[list[np.ndarray]] = [[] for _ in mixture]
        for sample, levels, _ in self._searched(label, stage, work):
            for number, component in enumerate(mixture):
                rows[number].extend(self._false_in(sample, label, component, levels))
        together = []
        for number, component in enumerate(mixture):
            found = _rows(rows[number], component)
            if not stage.endswith(" 1"):  # the rounds before are of the same numbers
                last = self.stages[self.stages.index(stage) - 1]
                kept = np.load(work.folder / f"{last}_{label}_{number}.npy")
                found = np.concatenate([kept, found])
            margins = found @ component.vector().astype(np.float32)
            hardest = np.argsort(-margins, kind="stable")[: self.cache]
            together.append(found[hardest[margins[hardest] > _HARD - 0.2]])
            np.save(work.folder / f"{stage}_{label}_{number}.npy", together[-1])
        return together

    def _false_in(
        self, sample: Sample, label: int, component: Component, levels: list[FeatureLevel]
    ) -> Iterator[np.ndarray]:
        """Features [D] of the worst false placements in a picture."""
        places = []
        for level in levels:
            found = placements(component, level)
            y, x = (found.scores > _HARD).nonzero()
            for row in self._free(sample, label, root_boxes(component, level, y, x)).nonzero()[0]:
                v, u = int(y[row]), int(x[row])
                places.append((float(found.scores[v, u]), level, v, u, found.parts[:, v, u]))
        places.sort(key=lambda place: -place[0])
        for _, level, v, u, parts in places[: self.hard]:
            yield placed_features(component, level, v, u, parts)


def best_on_object(
    example: Example, mixture: list[Component], levels: list[FeatureLevel], overlap: float
) -> Placement | None:
    """The placement with the highest score among those that overlap the object enough.

    Args:
        levels: of the example's image.
        overlap: IoU of the root's box with that of the object at least.
    """
    best = None
    for number, component in enumerate(mixture):
        for level_number, level in enumerate(levels):
            found = placements(component, level)
            y, x = np.indices(found.scores.shape).reshape(2, -1)
            near = iou(root_boxes(component, level, y, x), example.box) >= overlap
            if not near.any():
                continue
            row = np.where(near, found.scores.ravel(), -np.inf).argmax()
            v, u, score = int(y[row]), int(x[row]), float(found.scores.flat[row])
            if best is None or score > best.score:
                best = Placement(number, level_number, v, u, found.parts[:, v, u], score)
    return best


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


def _flipped(example: Example) -> Example:
    width = example.image.shape[1]
    left, top, right, bottom = example.box
    flipped = np.ascontiguousarray(example.image[:, ::-1])
    return Example(flipped, np.array([width - right, top, width - left, bottom]))


def _by_aspect(examples: list[Example], count: int) -> list[list[Example]]:
    """As many examples in each part, which differ in aspect ratio; at most `count` parts."""
    aspects = [(e.box[2] - e.box[0]) / (e.box[3] - e.box[1]) for e in examples]
    order = np.argsort(aspects, kind="stable")
    parts = np.array_split(order, min(count, len(examples) // 2) or 1)
    return [[examples[row] for row in part] for part in parts if len(part)]


def _warped(example: Example, height: int, width: int) -> np.ndarray:
    """Features [D] of a root of so many cells that is stretched to the object."""
    cell = (example.box[2:] - example.box[:2]) / [width, height]
    box = np.concatenate([example.box[:2] - cell, example.box[2:] + cell])
    shown = cut_out(example.image, box, ((height + 2) * CELL, (width + 2) * CELL))
    return np.append(fhog(shown, CELL).ravel(), np.float32(BIAS))


def _rows(rows: list[np.ndarray], component: Component) -> np.ndarray:
    return np.array(rows, np.float32).reshape(-1, component.vector().size)
