"""Viola and Jones' detector: a cascade of boosted Haar features for each class."""

from collections.abc import Iterator, Mapping
from typing import Annotated

import cv2
import numpy as np

from detectors.fitted import Fitted, Windows, Work
from detectors.fitted.cascade import Cascade
from detectors.fitted.cascade_scan import ScaledPicture, layers, scan
from detectors.fitted.cascade_training import (
    StageTargets,
    empty_cascade,
    false_alarms,
    object_windows,
    passes,
    train_stage,
)
from detectors.fitted.cascade_xml import read_cascade
from detectors.fitted.haar_features import HaarFeatures
from detectors.ranges import Count, Inner, Share, Within

Factor = Annotated[float, Within("(1, inf)")]
_FEATURES = ("rectangles", "weights", "tilted")
_OTHERS = ("stages", "stage_thresholds", "trees", "feature", "threshold", "branches", "leaves")


class ViolaJones(Fitted):
    """Slides a window over a grey picture at many scales; most places are rejected early.

    Viola & Jones 2004. Each stage of a cascade is boosted until it rejects enough of the windows
    that the stages before it wrongly let pass (sec. 4), so training is a search for such windows
    and a stage, in turns. A class whose cascade lets next to nothing more pass is finished.
    Its score is the logistic function of the last stage's sum above its threshold.

    Differences: features are balanced, so that light changes nothing; pictures are resized, not
    features, and their neighbours passed over, as in OpenCV 4.12; a stage's rates are those of its
    training windows, not of a set aside.

    Args:
        num_classes: of the data.
        height, width: of the window in pixels.
        depth: stages of each cascade.
        factor: between two scales of a scan.
        margin: share of an object's side that its window adds on each of its sides.
        jitter: share of a window's side by which those of objects are shifted at most; a scan
            hardly ever hits an object exactly.
        mirrored: whether mirror images of the objects are learnt too.
        objects: most windows of objects of each class that are learnt.
        others: windows without an object that each stage is trained on.
        per_picture: most of them from one picture.
        overlap: windows that overlap an object of the class more are not among them (IoU).
        detection_rate: least share of the objects that a stage lets pass.
        false_positive_rate: most of the others.
        stumps: a stage has no more.
        features: of all upright Haar features so many are drawn for each stage; None: all.
        weights: XML file of a cascade that OpenCV trained; nothing is left to fit.

    Raises:
        ValueError: the file holds no cascade of Haar features; or it is given, but not one class.
    """

    def __init__(
        self,
        num_classes: Count,
        height: Count = 24,
        width: Count = 24,
        depth: Count = 8,
        factor: Factor = 1.2,
        margin: Share = 0.1,
        jitter: Share = 0.05,
        mirrored: bool = True,
        objects: Count = 600,
        others: Count = 600,
        per_picture: Count = 20,
        overlap: Share = 0.3,
        detection_rate: Inner = 0.995,
        false_positive_rate: Inner = 0.4,
        stumps: Count = 40,
        features: Count | None = None,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.height, self.width = num_classes, height, width
        self.factor, self.margin = factor, margin
        self.jitter, self.mirrored = jitter, mirrored
        self.objects, self.others, self.per_picture = objects, others, per_picture
        self.overlap, self.features = overlap, features
        self.targets = StageTargets(detection_rate, false_positive_rate, stumps)
        self.stages = ("objects", *(f"stage {number}" for number in range(1, depth + 1)))
        if weights is not None:
            self._start_with(weights)

    def _start_with(self, file: str) -> None:
        cascade = read_cascade(file)
        if self.num_classes != 1:
            raise ValueError(
                f"weights={file} is a cascade, which knows one class, but the data has "
                f"{self.num_classes}"
            )
        self.start_with(
            finished=np.ones(1, bool), margins=np.zeros(1, np.float32), **_numbers(cascade, 0)
        )

    def described(self) -> Mapping[str, object]:
        """The window, and how long the cascades are, if they are known."""
        if "finished" not in self._buffers:
            return {"window": f"{self.height} x {self.width}", "stages": len(self.stages) - 1}
        counts = [len(self.get_buffer(f"threshold_{n}")) for n in range(self.num_classes)]
        depths = [len(self.get_buffer(f"stage_thresholds_{n}")) for n in range(self.num_classes)]
        return {"stages": ", ".join(map(str, depths)), "nodes": ", ".join(map(str, counts))}

    def cascade(self, label: int) -> Cascade:
        """The stages of a class so far."""
        height, width = self.array(f"window_{label}").tolist()
        features = HaarFeatures(*(self.array(f"{name}_{label}") for name in _FEATURES))
        others = (self.array(f"{name}_{label}") for name in _OTHERS)
        return Cascade(height, width, features, *others)

    def scan(self, picture: np.ndarray) -> Windows:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        found = [self._scan(grey, label) for label in range(self.num_classes)]
        return Windows(*(np.concatenate(parts) for parts in zip(*found, strict=True)))

    def _scan(self, grey: np.ndarray, label: int) -> Windows:
        cascade = self.cascade(label)
        if not len(cascade.stage_thresholds):  # the training pictures showed none of this class
            pyramid: list[ScaledPicture] = []
        else:
            pyramid = layers(grey, (cascade.height, cascade.width), self.factor)
        passed = scan(cascade, pyramid)
        margin = float(self.array("margins")[0])
        inner = passed.boxes[:, 2:] / (1 + 2 * margin)
        corners = passed.boxes[:, :2] + passed.boxes[:, 2:] * margin / (1 + 2 * margin)
        boxes = np.rint(np.concatenate([corners, corners + inner], axis=1)).astype(np.float32)
        scores = 1 / (1 + np.exp(-passed.margins))
        return Windows(boxes, scores.astype(np.float32), np.full(len(boxes), label, np.int64))

    def fit(self, stage: str, work: Work) -> Mapping[str, float]:
        if stage == "objects":
            return self._collect(work)
        return self._stage(self.stages.index(stage), work)

    def _collect(self, work: Work) -> Mapping[str, float]:
        """Cuts out the objects, and begins a cascade for each class without any stage."""
        found: list[list[np.ndarray]] = [[] for _ in range(self.num_classes)]
        for number, sample in enumerate(work.tracked(work.examples, "objects")):
            grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
            for label, crops in enumerate(found):
                boxes = sample.boxes[(sample.labels == label) & ~sample.ignore]
                crops.extend(self._around(grey, boxes, work.random("shifts", number, label)))
        begun = empty_cascade(self.height, self.width)
        told = {}
        for label, (name, crops) in enumerate(zip(work.classes, found, strict=True)):
            chosen = work.random("objects", label).permutation(len(crops))[: self.objects]
            kept = np.array([crops[row] for row in chosen], np.uint8)
            kept = kept.reshape(-1, self.height, self.width)
            varied = kept[passes(begun, kept)]
            np.save(work.folder / f"objects_{label}.npy", varied)
            self.keep(**_numbers(begun, label))
            told[f"windows of {name}"] = len(varied)
        if not any(told.values()):
            raise ValueError(
                f"no object of the training pictures fits and varies in a window of {self.width} x "
                f"{self.height}: give larger pictures, or a smaller part.fitted.margin"
            )
        finished = [count == 0 for count in told.values()]
        self.keep(finished=np.array(finished), margins=np.array([self.margin], np.float32))
        return told

    def _around(
        self, grey: np.ndarray, boxes: np.ndarray, draw: np.random.Generator
    ) -> Iterator[np.ndarray]:
        """Windows around objects, and around their mirror images, each shifted for itself."""
        window = self.height, self.width, self.margin, self.jitter, draw
        yield from object_windows(grey, boxes, *window)
        if self.mirrored:
            yield from object_windows(grey, boxes, *window)[..., ::-1]

    def _stage(self, number: int, work: Work) -> Mapping[str, float]:
        """One more stage for each class that is not finished."""
        finished, told = self.array("finished").copy(), dict[str, float]()
        for label, name in enumerate(work.classes):
            if finished[label]:
                continue
            cascade = self.cascade(label)
            objects = np.load(work.folder / f"objects_{label}.npy")
            objects = objects[passes(cascade, objects)]
            draw = work.random("false alarms", number, label)
            pictures = self._pictures(work, label, draw)
            limits = self.others, self.per_picture, draw, self.overlap
            others = false_alarms(cascade, pictures, *limits)
            told |= {f"objects of {name}": len(objects), f"others of {name}": len(others)}
            finished[label] = not len(others) or (number > 1 and len(others) < self.others / 10)
            if finished[label]:
                continue
            cascade, figures = train_stage(
                cascade, objects, others, self.targets, self.features, draw
            )
            self.keep(**_numbers(cascade, label))
            told |= {f"{what} of {name}": value for what, value in figures._asdict().items()}
        self.keep(finished=finished)
        return told

    def _pictures(
        self, work: Work, label: int, draw: np.random.Generator
    ) -> Iterator[tuple[list[ScaledPicture], np.ndarray, np.ndarray]]:
        """Layers of the training pictures, their objects and which of them are ignored; drawn."""
        for row in work.tracked(draw.permutation(len(work.examples)).tolist(), "false alarms"):
            sample = work.examples[row]
            grey = cv2.cvtColor(sample.image, cv2.COLOR_RGB2GRAY)
            own = sample.labels == label
            boxes = sample.boxes[own].astype(np.float64)
            spread = (boxes[:, 2:] - boxes[:, :2]) * self.margin
            boxes = np.concatenate([boxes[:, :2] - spread, boxes[:, 2:] + spread], axis=1)
            pyramid = layers(grey, (self.height, self.width), self.factor)
            yield pyramid, boxes, sample.ignore[own]


def _numbers(cascade: Cascade, label: int) -> dict[str, np.ndarray]:
    """The buffers of a class."""
    window = {"window": np.array([cascade.height, cascade.width])}
    features = dict(zip(_FEATURES, cascade.features, strict=True))
    others = {name: getattr(cascade, name) for name in _OTHERS}
    return {f"{name}_{label}": value for name, value in (window | features | others).items()}
