"""HOG and a linear SVM for each class (Dalal and Triggs 2005)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch

from detectors.fitted import Fitted, Windows, Work
from detectors.fitted.hog_descriptor import CELL, block_map, descriptor
from detectors.fitted.hog_windows import WindowShape, seen
from detectors.fitted.pyramid import cut_out
from detectors.fitted.svm import Machine, linear_svm, unconverged
from detectors.ops.numpy_boxes import overlap
from detectors.ops.suppression import greedy_iou
from detectors.ranges import Count, Positive, Share, Whole, Within
from detectors.structures import Sample

PEOPLE = (16, 8), 3781  # cells of OpenCV's window, and its weights with the bias
FEWEST = 20  # percentile of the areas of a class by which its window is chosen, as in DPM
Ratio = Annotated[float, Within("(1, inf)")]
REPEATED = 0.5  # IoU above which a false window is no other one
TRIES = 10  # windows drawn for each negative, until one lies beside all objects


class WindowRows(NamedTuple):
    """What the machine of a class is fitted to."""

    positives: np.ndarray  # [n, D] float32
    negatives: np.ndarray


class Hog(Fitted):
    """Windows of one shape for each class, slid over a pyramid and scored by a linear machine.

    The shape has the mean aspect ratio of the objects of its class, in the logarithm, at an area
    that four fifths of them reach, and a margin around them (sec. 6.6): objects that are smaller
    are not found. The first machine is fitted to the objects, their mirror images, and to windows
    drawn beside the objects of the class; the second one also to what the first falsely finds in
    the training pictures (sec. 4). Where the paper fuses windows by mean shift, the post-process
    suppresses them. A score is the logistic function of the distance to the plane.

    Args:
        num_classes: of the data.
        ratio: of the scales of two levels.
        padding: pixels by which levels are mirrored outwards.
        threshold: margins of windows that are found; at 0 the machine says that it is one.
        margin: pixels of the window on each side of the object.
        least, most: square pixels of the object in its window.
        mirrored: whether mirror images of the objects are positive too.
        cost: C of the machine.
        rounds: after which the solver of a machine stops in any case.
        balanced: whether the costs of all positives and of all negatives of a class weigh the same;
            else each costs the same, as in the paper, and a class with few objects is not found.
        negatives: windows that are drawn from each picture for each class.
        hard: most false windows that the second machine takes from a picture for each class, none
            of which overlaps a worse one by more than half. Where not all objects are annotated,
            those left out are among them.
        overlap: IoU with an object of the class up to which a window is negative.
        weights: an .npy file of OpenCV's people detector, whose window has 64 x 128 pixels; nothing
            is left to fit.

    Raises:
        ValueError: the file holds other numbers; or weights are given, but not one class.
    """

    stages = ("windows", "first", "hard")

    def __init__(
        self,
        num_classes: Count,
        ratio: Ratio = 1.05,
        padding: Whole = 16,
        threshold: float = -1.0,
        margin: Whole = 16,
        least: Positive = 1024.0,
        most: Positive = 3072.0,
        mirrored: bool = True,
        cost: Positive = 0.01,
        rounds: Count = 1000,
        balanced: bool = True,
        negatives: Count = 10,
        hard: Count = 5,
        overlap: Share = 0.3,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.ratio, self.padding = num_classes, ratio, padding
        self.threshold, self.margin, self.mirrored = threshold, margin, mirrored
        self.least, self.most = least, most
        self.cost, self.rounds, self.balanced = cost, rounds, balanced
        self.negatives, self.hard, self.overlap = negatives, hard, overlap
        if weights is not None:
            self._start_with(weights)

    def _start_with(self, file: str) -> None:
        numbers = np.load(Path(file).expanduser(), allow_pickle=False).astype(np.float32).ravel()
        cells, count = PEOPLE
        if len(numbers) != count or self.num_classes != 1:
            raise ValueError(
                f"weights={file}: expected {count} numbers for 1 class, found {len(numbers)} for "
                f"{self.num_classes}: OpenCV's people detector knows people alone"
            )
        self.start_with(cells=np.array([cells]), weights_0=numbers[:-1], bias_0=numbers[-1:])

    def described(self) -> Mapping[str, object]:
        """Its windows and their numbers, as far as they are known."""
        if "cells" not in self._buffers or self.get_buffer("cells").is_meta:
            return {"numbers": "36 for each block of 2 x 2 cells of a window, and a bias"}
        shapes = [shape for shape in self.shapes() if shape is not None]
        return {
            "windows": ", ".join(f"{shape.size[1]} x {shape.size[0]}" for shape in shapes),
            "numbers": f"{sum(shape.numbers + 1 for shape in shapes):,}",
        }

    def shapes(self) -> list[WindowShape | None]:
        """The window of each class; None where the training pictures show none of it."""
        cells = self.array("cells").tolist()
        return [
            WindowShape(rows, columns, self.margin) if rows else None for rows, columns in cells
        ]

    def asked(self) -> list[tuple[WindowShape, Machine] | None]:
        """The window of each class and its machine."""
        return [
            None if shape is None else (shape, self._machine(label))
            for label, shape in enumerate(self.shapes())
        ]

    def _machine(self, label: int) -> Machine:
        return Machine(self.array(f"weights_{label}"), float(self.array(f"bias_{label}")[0]), True)

    def scan(self, picture: np.ndarray) -> Windows:
        boxes, margins = [np.zeros((0, 4))], [np.zeros(0, np.float32)]
        labels = [np.zeros(0, np.int64)]
        settings = self.ratio, self.padding, self.threshold
        for label, found in seen(picture, self.asked(), *settings):
            boxes.append(found.boxes)
            margins.append(found.margins)
            labels.append(np.full(len(found.margins), label, np.int64))
        scores = 1 / (1 + np.exp(-np.concatenate(margins)))
        return Windows(np.concatenate(boxes).astype(np.float32), scores, np.concatenate(labels))

    def fit(self, stage: str, work: Work) -> Mapping[str, float]:
        return {"windows": self._windows, "first": self._first, "hard": self._hard}[stage](work)

    def _windows(self, work: Work) -> Mapping[str, float]:
        """Chooses the window of each class."""
        sides: list[list[np.ndarray]] = [[] for _ in range(self.num_classes)]
        for sample in work.tracked(work.examples, "windows"):
            for label in range(self.num_classes):
                boxes = objects(sample, label)
                sides[label].extend(boxes[:, 2:] - boxes[:, :2])
        cells = [self._cells(np.array(own)) if own else (0, 0) for own in sides]
        self.keep(cells=np.array(cells, np.int64))
        told = {"objects": sum(map(len, sides)), "absent classes": cells.count((0, 0))}
        return told | {
            f"cells of {name}": rows * columns
            for name, (rows, columns) in zip(work.classes, cells, strict=True)
        }

    def _cells(self, sides: np.ndarray) -> tuple[int, int]:
        """Rows and columns of the window for objects of these sides, [n, 2] width and height."""
        aspect = np.exp(np.log(sides[:, 0] / sides[:, 1]).mean())
        area = np.clip(np.percentile(sides.prod(1), FEWEST), self.least, self.most)
        inner = np.sqrt(area / aspect), np.sqrt(area * aspect)
        fewest = -(-(2 * self.margin + CELL) // CELL)
        rows, columns = (max(round((s + 2 * self.margin) / CELL), fewest, 2) for s in inner)
        return rows, columns

    def _first(self, work: Work) -> Mapping[str, float]:
        """Fits a machine for each class to its objects and to windows beside them."""
        found: dict[int, tuple[list[np.ndarray], list[np.ndarray]]] = {
            label: ([], []) for label, shape in enumerate(self.shapes()) if shape is not None
        }
        for number, sample in enumerate(work.tracked(work.examples, "objects and background")):
            for label, (positives, negatives) in found.items():
                shape = self._shape(label)
                boxes = objects(sample, label)
                positives.extend(self._positives(sample.image, boxes, shape))
                draw = work.random("negatives", number, label)
                windows = self._beside(sample, label, shape, draw)
                negatives.extend(described_at(sample.image, windows, shape))
        for label, (_, negatives) in found.items():
            if not negatives:
                raise ValueError(self._nothing_beside(label, work))
        rows = {label: WindowRows(*map(np.array, pair)) for label, pair in found.items()}
        for label, own in rows.items():
            np.savez(work.folder / f"{label}.npz", **own._asdict())
        return self._machines(rows, work)

    def _nothing_beside(self, label: int, work: Work) -> str:
        """Why no picture has a window without an object of a class, and what to do."""
        height, width = self._shape(label).size
        sizes = [sample.image.shape[:2] for sample in work.examples]
        name = work.classes[label]
        if not any(high >= height and wide >= width for high, wide in sizes):
            high, wide = np.max(sizes, axis=0).tolist()
            return (
                f"the window of {name} has {width} x {height} pixels, and the largest picture on "
                f"the canvas {wide} x {high}: give a larger image_size, or a smaller "
                "part.fitted.most or part.fitted.margin"
            )
        return (
            f"no window of {width} x {height} pixels lies beside all objects of {name} in "
            f"{len(sizes)} training pictures: give more pictures, or a larger part.fitted.overlap"
        )

    def _shape(self, label: int) -> WindowShape:
        shape = self.shapes()[label]
        assert shape is not None
        return shape

    def _positives(
        self, picture: np.ndarray, boxes: np.ndarray, shape: WindowShape
    ) -> Iterator[np.ndarray]:
        """Descriptors of objects, and of their mirror images."""
        for box in shape.around(boxes):
            shown = cut_out(picture, box, shape.size)
            yield descriptor(block_map(shown))
            if self.mirrored:
                yield descriptor(block_map(np.ascontiguousarray(shown[:, ::-1])))

    def _beside(
        self, sample: Sample, label: int, shape: WindowShape, draw: np.random.Generator
    ) -> list[np.ndarray]:
        """Windows [4] of any scale that lie beside the objects of a class."""
        size, there = np.array(shape.size[::-1]), np.array(sample.image.shape[1::-1])
        largest = (there / size).min()
        found: list[np.ndarray] = []
        for _ in range(TRIES * self.negatives):
            scale = np.exp(draw.uniform(0.0, max(np.log(largest), 0.0)))
            corner = draw.uniform(0.0, np.maximum(there - scale * size, 1e-9))
            inner = shape.inside(corner[None], scale)
            if largest >= 1 and self._free(sample, label, inner)[0]:
                found.append(np.concatenate([corner, corner + scale * size]))
            if len(found) == self.negatives:
                break
        return found

    def _free(self, sample: Sample, label: int, boxes: np.ndarray) -> np.ndarray:
        """[n] bool, whether boxes [n, 4] lie beside all objects of a class, ignored ones too."""
        own = sample.labels == label
        met = overlap(boxes[:, None], sample.boxes[own], sample.ignore[own])
        return met.max(axis=1, initial=0.0) <= self.overlap

    def _machines(self, rows: Mapping[int, WindowRows], work: Work) -> dict[str, float]:
        """Fits the machine of each class; how many rows there were, and how many are wrong."""
        machines, wrong, total = [], 0, 0
        for label, own in work.tracked(rows.items(), "machines", total=len(rows)):
            factor = len(own.negatives) / len(own.positives) if self.balanced else 1.0
            machine = linear_svm(
                own.positives,
                own.negatives,
                self.cost,
                work.seed,
                positive_cost=factor,
                rounds=self.rounds,
            )
            machines.append(machine)
            self.keep(
                **{
                    f"weights_{label}": machine.weights,
                    f"bias_{label}": np.array([machine.bias], np.float32),
                }
            )
            wrong += int((machine.margins(own.positives) < 0).sum())
            wrong += int((machine.margins(own.negatives) >= 0).sum())
            total += len(own.positives) + len(own.negatives)
        positives = sum(len(own.positives) for own in rows.values())
        told = {"positives": positives, "negatives": total - positives, "wrong": wrong / total}
        return told | unconverged(machines, self.rounds)

    def _hard(self, work: Work) -> Mapping[str, float]:
        """Fits them once more, also to what they falsely find."""
        found: dict[int, list[np.ndarray]] = {}
        for sample in work.tracked(work.examples, "hard negatives"):
            for label, rows in self._false(sample).items():
                found.setdefault(label, []).append(rows)
        together = {}
        for label, shape in enumerate(self.shapes()):
            if shape is not None:
                with np.load(work.folder / f"{label}.npz") as stored:
                    negatives = np.concatenate([stored["negatives"], *found.get(label, [])])
                    together[label] = WindowRows(stored["positives"], negatives)
        hard = sum(len(rows) for parts in found.values() for rows in parts)
        return {"hard": hard, **self._machines(together, work)}

    def _false(self, sample: Sample) -> dict[int, np.ndarray]:
        """Descriptors [n, D] of the worst false windows of each class that are not of one place."""
        found: dict[int, list[tuple[np.ndarray, ...]]] = {}
        for label, windows in seen(sample.image, self.asked(), self.ratio, self.padding, 0.0):
            beside = windows.only(self._free(sample, label, windows.boxes))
            worst = beside.only(apart(beside.boxes, beside.margins, self.hard))
            rows = worst.descriptors(self._shape(label))
            found.setdefault(label, []).append((worst.boxes, worst.margins, rows))
        return {label: self._worst(parts) for label, parts in found.items()}

    def _worst(self, parts: list[tuple[np.ndarray, ...]]) -> np.ndarray:
        """The rows [n, D] of the worst windows of several levels, given as boxes, margins, rows."""
        boxes, margins, rows = (np.concatenate(column) for column in zip(*parts, strict=True))
        return rows[apart(boxes, margins, self.hard)]


def apart(boxes: np.ndarray, margins: np.ndarray, count: int) -> np.ndarray:
    """The numbers of the best boxes [n, 4], best first, none of which repeats a better one."""
    order = np.argsort(-margins, kind="stable")
    ranked = torch.from_numpy(boxes[order])[None]
    one, there = torch.zeros(ranked.shape[:2]), torch.ones(ranked.shape[:2], dtype=torch.bool)
    kept = greedy_iou(ranked, one, there, REPEATED)[0].numpy()
    return order[kept][:count]


def objects(sample: Sample, label: int) -> np.ndarray:
    """Boxes [n, 4] of a class that are to be learnt: not ignored, and at least a pixel wide."""
    sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
    kept = (sample.labels == label) & ~sample.ignore & (sides >= 1).all(1)
    return sample.boxes[kept].astype(np.float64)


def described_at(
    picture: np.ndarray, windows: list[np.ndarray], shape: WindowShape
) -> Iterator[np.ndarray]:
    """Descriptors of windows [4] of a picture."""
    for box in windows:
        yield descriptor(block_map(cut_out(picture, box, shape.size)))
