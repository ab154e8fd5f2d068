"""R-CNN: regions with features of a network (Girshick et al. 2014)."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.files import whole_file
from detectors.fitted import Fitted, Windows, Work
from detectors.fitted.rcnn_boxes import RidgeSums, encoded, moved
from detectors.fitted.rcnn_crops import warped
from detectors.fitted.rcnn_network import CropNetwork
from detectors.fitted.rcnn_svm import Miner
from detectors.fitted.svm import unconverged
from detectors.ops.numpy_boxes import overlap
from detectors.ranges import Count, Positive, Share, Weight, Whole
from detectors.structures import Sample

NORM = 20.0  # mean length of features in the release, for which its C was chosen
AT_ONCE = 128  # windows that the network looks at together


class Proposing(Protocol):
    """Makes proposals of a picture, such as `data.proposals.Method`."""

    def __call__(self, image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[n, 4] float32 xyxy pixels of the image, the first ones to be preferred."""
        ...


class PictureWindows(NamedTuple):
    """The windows of one training picture: its objects, then its proposals."""

    boxes: np.ndarray  # [m, 4] float64
    objects: np.ndarray  # [g, 4] float64, ignored ones too
    labels: np.ndarray  # [g] int64
    ignore: np.ndarray  # [g] bool

    def overlaps(self, rows: np.ndarray) -> np.ndarray:
        """[m, k] of all windows with k of the objects, as `numpy_boxes.overlap`."""
        return overlap(self.boxes[:, None], self.objects[rows], self.ignore[rows])

    def best(self, rows: np.ndarray) -> np.ndarray:
        """[m] the highest of them, 0 without an object."""
        return self.overlaps(rows).max(axis=1, initial=0.0)


class Rates(NamedTuple):
    """How the network is fine-tuned (sec. 2.3; the release's solver)."""

    iterations: int
    lr: float
    step: int  # iterations after which it is a tenth
    head: float = 10.0  # factor of the last layer's
    momentum: float = 0.9
    decay: float = 5e-4


class RCNN(Fitted):
    """Proposals, each warped and described by a network, judged by linear machines and moved.

    Stages: proposals of the training pictures; fine-tuning of the network on windows; features of
    all windows; a machine for each class with hard negatives; regression of boxes.

    Args:
        num_classes: of the data.
        network: of the windows.
        proposals: makes them, in training and in evaluations; None: they come with the pictures.
        mean, std: of RGB in 0..255, subtracted and divided by.
        most: proposals of a picture that are looked at, the first ones.
        context: pixels of a window around its box.
        positive, background: windows of each kind in a batch of fine-tuning.
        iterations, lr, step, head_rate: of fine-tuning, see `Rates`.
        overlap: IoU from which a window is positive in fine-tuning; else it is background.
        negative: IoU with the objects of a class below which a window is negative for its machine.
        near: IoU above which a window teaches the regression of boxes.
        cost, positive_cost, bias_scale: of the machines.
        rounds: after which the solver of a machine stops in any case.
        penalty: lambda of the regression.
        detections: windows of a picture that are kept for each class, the best ones.
        pretrained: state dict of the network to begin with; None: random weights.
    """

    stages = ("proposals", "network", "features", "machines", "boxes")
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        num_classes: Count,
        network: CropNetwork,
        proposals: Proposing | None,
        mean: Sequence[float],
        std: Sequence[Positive],
        most: Count = 2000,
        context: Whole = 16,
        positive: Count = 32,
        background: Count = 96,
        iterations: Count = 70_000,
        lr: Positive = 0.001,
        step: Count = 20_000,
        head_rate: Positive = 10.0,
        overlap: Share = 0.5,
        negative: Share = 0.3,
        near: Share = 0.6,
        cost: Positive = 0.001,
        positive_cost: Positive = 2.0,
        bias_scale: Positive = 10.0,
        rounds: Count = 1000,
        penalty: Weight = 1000.0,
        detections: Count = 100,
        pretrained: str | None = None,
    ) -> None:
        super().__init__()
        self.num_classes, self.network, self.proposals = num_classes, network, proposals
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("std", torch.tensor(std), persistent=False)
        self.fill = np.array(mean, np.float32)
        self.most, self.context = most, context
        self.positive, self.background, self.overlap = positive, background, overlap
        self.rates = Rates(iterations, lr, step, head_rate)
        self.negative, self.near = negative, near
        self.cost, self.positive_cost, self.bias_scale = cost, positive_cost, bias_scale
        self.rounds, self.needs_proposals = rounds, proposals is None
        self.penalty, self.detections, self.pretrained = penalty, detections, pretrained

    def described(self) -> Mapping[str, object]:
        """Numbers of each kind that are fitted."""
        network = sum(parameter.numel() for parameter in self.network.parameters())
        return {
            "network": network,
            "machines": self.num_classes * (self.network.hidden + 1),
            "regressors": self.num_classes * 4 * (self.network.pooled + 1),
        }

    def fit(self, stage: str, work: Work) -> Mapping[str, float]:
        """Fit one stage.

        Raises:
            ValueError: no window of the training pictures is positive, or none is background.
        """
        fitting: dict[str, Callable[[Work], Mapping[str, float]]] = {
            "proposals": self._propose,
            "network": self._fine_tune,
            "features": self._describe,
            "machines": self._machines,
            "boxes": self._boxes,
        }
        return fitting[stage](work)

    def _propose(self, work: Work) -> Mapping[str, float]:
        """Writes the windows of each picture; those that are there already stay."""
        windows = found = objects = 0
        for row, sample in enumerate(work.tracked(work.examples, "proposals")):
            file = _file(work, "windows", row)
            if not file.is_file():
                proposed = self._proposed(sample, work, row)
                _write(file, **_seen(sample, proposed)._asdict())
            seen = _windows(work, row)
            counted = np.flatnonzero(~seen.ignore)
            proposed = seen.overlaps(counted)[len(counted) :]
            windows, objects = windows + len(proposed), objects + len(counted)
            found += int((proposed.max(axis=0, initial=0.0) >= 0.5).sum())
        return {"proposals": windows, "recall at IoU 0.5": found / max(objects, 1)}

    def _proposed(self, sample: Sample, work: Work, row: int) -> np.ndarray:
        """[n, 4] the first proposals of a training picture."""
        given = sample.proposals
        if self.proposals is not None:
            given = self.proposals(sample.image, work.random("proposals", row))
        assert given is not None
        return with_area(given)[: self.most]

    def _fine_tune(self, work: Work) -> Mapping[str, float]:
        """Trains the network on windows drawn from all pictures."""
        positive, background = self._drawable(work)
        if self.pretrained is not None:
            self.network.start_from(self.pretrained)
        optimizer = _optimizer(self.network, self.rates)
        file = work.folder / "network.pt"
        begun = _resumed(file, self.network, optimizer) if file.is_file() else 0
        picture = lru_cache(512)(lambda row: work.examples[row].image)
        self.network.train()
        losses, right = [], []
        for number in work.tracked(range(begun, self.rates.iterations), "network"):
            drawn, labels, mirrored = self._batch(positive, background, work, number)
            crops = self._crops((picture(int(row)), box) for row, box in drawn)
            crops = torch.where(mirrored[:, None, None, None], crops.flip(3), crops)
            torch.manual_seed(_seed(work.seed, number))  # of what is dropped
            _set_rate(optimizer, self.rates.lr * 0.1 ** (number // self.rates.step))
            logits = self.network(crops.to(self.done.device))
            loss = F.cross_entropy(logits, labels.to(self.done.device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            right.append((logits.argmax(1).cpu() == labels).float().mean().item())
            if (number + 1) % 500 == 0:
                _keep(file, self.network, optimizer, number + 1)
        self.network.eval()
        last = max(len(losses) // 10, 1)
        means = (float(np.mean(values[-last:])) if values else 0.0 for values in (losses, right))
        return dict(zip(("loss", "right"), means, strict=True))

    def _drawable(self, work: Work) -> tuple[np.ndarray, np.ndarray]:
        """Rows (picture, label, x1, y1, x2, y2) of positive and background windows; label 0: none.

        Background overlaps no object, ignored ones included.
        """
        positive, background = [], []
        for row in range(len(work.examples)):
            seen = _windows(work, row)
            counted, every = np.flatnonzero(~seen.ignore), np.arange(len(seen.ignore))
            labels = np.zeros(len(seen.boxes))
            if len(counted):
                labels = 1.0 + seen.labels[counted][seen.overlaps(counted).argmax(axis=1)]
            rows = np.column_stack([np.full(len(labels), row), labels, seen.boxes])
            positive.append(rows[seen.best(counted) >= self.overlap])
            background.append(rows[seen.best(every) < self.overlap] * [1, 0, 1, 1, 1, 1])
        found = np.concatenate(positive), np.concatenate(background)
        if not len(found[0]) or not len(found[1]):
            raise ValueError(
                f"of the windows {len(found[0])} overlap an object by {self.overlap} or more and "
                f"{len(found[1])} are background, but both are needed: give more pictures, or "
                "other proposals"
            )
        return found

    def _batch(
        self, positive: np.ndarray, background: np.ndarray, work: Work, number: int
    ) -> tuple[list[tuple[float, np.ndarray]], Tensor, Tensor]:
        """Windows with the rows of their pictures, labels [n] and which are mirrored [n]."""
        rng = work.random("windows", number)
        parts = (positive, self.positive), (background, self.background)
        drawn = np.concatenate([rows[rng.integers(len(rows), size=k)] for rows, k in parts])
        drawn = drawn[np.argsort(drawn[:, 0], kind="stable")]  # a picture is read once
        mirrored = torch.from_numpy(rng.random(len(drawn)) < 0.5)
        windows = [(row[0], row[2:]) for row in drawn]
        return windows, torch.from_numpy(drawn[:, 1].astype(np.int64)), mirrored

    def _crops(self, windows: Iterable[tuple[np.ndarray, np.ndarray]]) -> Tensor:
        """[n, 3, side, side] normalised, of windows in their pictures."""
        side = self.network.side
        squares = [warped(p, box, side, self.context, self.fill) for p, box in windows]
        crops = torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2)
        mean, std = self.mean.cpu(), self.std.cpu()
        return (crops - mean[:, None, None]) / std[:, None, None]

    @torch.no_grad()
    def _features(self, picture: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """pool5 [m, pooled] and fc7 [m, hidden] of windows [m, 4] of a picture, not scaled."""
        self.network.eval()
        found = []
        for start in range(0, len(boxes), AT_ONCE):
            crops = self._crops((picture, box) for box in boxes[start : start + AT_ONCE])
            found.append(self.network.features(crops.to(self.done.device)))
        pooled, hidden = zip(*found, strict=True)
        return torch.cat(pooled).cpu().numpy(), torch.cat(hidden).cpu().numpy()

    def _describe(self, work: Work) -> Mapping[str, float]:
        """Writes fc7 of all windows and pool5 of those near an object; keeps mean lengths."""
        lengths, count = np.zeros(2), 0
        for row, sample in enumerate(work.tracked(work.examples, "features")):
            seen, file = _windows(work, row), _file(work, "features", row)
            if not len(seen.boxes):
                continue
            if not file.is_file():
                pooled, hidden = self._features(sample.image, seen.boxes)
                norms = [np.linalg.norm(values, axis=1).sum() for values in (pooled, hidden)]
                near = seen.best(np.flatnonzero(~seen.ignore)) > self.near
                _write(file, hidden=hidden, pooled=pooled[near], near=near, norms=np.array(norms))
            lengths, count = lengths + _read(file, "norms"), count + len(seen.boxes)
        means = lengths / count
        self.keep(pooled_length=means[:1].astype(np.float32))
        self.keep(hidden_length=means[1:].astype(np.float32))
        return {"windows": count, "length of pool5": means[0], "length of fc7": means[1]}

    def _scaled(self, values: np.ndarray, name: str) -> np.ndarray:
        """Features, so that the mean length of those of training is `NORM`."""
        return values * (NORM / np.maximum(self.array(f"{name}_length"), 1e-12)).astype(np.float32)

    def _machines(self, work: Work) -> Mapping[str, float]:
        """Fits the machine of each class that has an object, with hard negatives."""
        miners = self._miners(work)
        described = [row for row in range(len(work.examples)) if _described(work, row)]
        for row in work.tracked(described, "machines"):
            seen = _windows(work, row)
            hidden = self._scaled(_read(_file(work, "features", row), "hidden"), "hidden")
            for label, miner in miners.items():
                away = seen.best(np.flatnonzero(seen.labels == label)) < self.negative
                miner.see(hidden[away], row == described[-1])
        weights = np.zeros((self.num_classes, self.network.hidden), np.float32)
        biases = np.zeros(self.num_classes, np.float32)
        known = np.zeros(self.num_classes, bool)
        for label, miner in miners.items():
            if miner.machine is not None:
                weights[label], biases[label] = miner.machine.weights, miner.machine.bias
                known[label] = True
        self.keep(weights=weights, biases=biases, known=known)
        machines = [miner.machine for miner in miners.values() if miner.machine is not None]
        return _told(miners) | unconverged(machines, self.rounds)

    def _miners(self, work: Work) -> dict[int, Miner]:
        """One for each class with its positives, the objects."""
        positives: dict[int, list[np.ndarray]] = {}
        for row in range(len(work.examples)):
            if not _described(work, row):
                continue
            seen = _windows(work, row)
            own = _read(_file(work, "features", row), "hidden")[: int((~seen.ignore).sum())]
            for label, values in zip(seen.labels[~seen.ignore], own, strict=True):
                positives.setdefault(int(label), []).append(values)
        numbers = self.cost, self.positive_cost, self.bias_scale
        seed, rounds = work.seed, self.rounds
        return {
            label: Miner(self._scaled(np.stack(rows), "hidden"), *numbers, seed=seed, rounds=rounds)
            for label, rows in sorted(positives.items())
        }

    def _boxes(self, work: Work) -> Mapping[str, float]:
        """Fits the regression of each class to the windows near its objects."""
        weights = np.zeros((self.num_classes, self.network.pooled + 1, 4), np.float32)
        whole = np.tile(np.eye(4, dtype=np.float32), (self.num_classes, 1, 1))
        means, errors, count = np.zeros((self.num_classes, 4), np.float32), np.zeros(2), 0
        for label, pictures in work.tracked(self._near(work).items(), "boxes"):
            pairs = RidgeSums(self.network.pooled)
            for row in pictures:
                pairs.add(*self._pairs(work, row, label))
            found, *sums = pairs.regressor(self.penalty)
            weights[label], whole[label], means[label] = found
            errors, count = errors + sums, count + pairs.count
        self.keep(box_weights=weights, box_unwhitened=whole, box_means=means)
        before, after = errors / max(count, 1)
        return {"pairs": count, "squared error before": before, "after": after}

    def _near(self, work: Work) -> dict[int, list[int]]:
        """Which pictures have windows near an object of each class."""
        found: dict[int, list[int]] = {}
        for row in range(len(work.examples)):
            if _described(work, row):
                seen, _, owner = _owners(work, row)
                for label in np.unique(seen.labels[owner]).tolist():
                    found.setdefault(label, []).append(row)
        return dict(sorted(found.items()))

    def _pairs(self, work: Work, row: int, label: int) -> tuple[np.ndarray, np.ndarray]:
        """Features [n, D] and deltas [n, 4] of the windows near objects of a class."""
        seen, near, owner = _owners(work, row)
        own = seen.labels[owner] == label
        deltas = encoded(seen.boxes[near][own], seen.objects[owner[own]])
        pooled = _read(_file(work, "features", row), "pooled")[own]
        return self._scaled(pooled, "pooled"), deltas

    def scan(self, picture: np.ndarray, proposals: np.ndarray | None = None) -> Windows:
        """Proposals that the machine of a class ranks highest, moved and cut to the picture.

        Args:
            proposals: [n, 4] of the picture, if the model makes none.
        """
        if self.proposals is not None:
            proposals = self.proposals(picture, np.random.default_rng(0))
        assert proposals is not None
        boxes = with_area(proposals)[: self.most].astype(np.float64)
        empty = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        if not len(boxes):
            return Windows(*empty)
        pooled, hidden = self._features(picture, boxes)
        pooled, hidden = self._scaled(pooled, "pooled"), self._scaled(hidden, "hidden")
        margins = hidden @ self.array("weights").T + self.array("biases")
        found = [empty]
        for label in np.flatnonzero(self.array("known")).tolist():
            rows = np.argsort(-margins[:, label], kind="stable")[: self.detections]
            scores = 1 / (1 + np.exp(-margins[rows, label].astype(np.float64)))
            own = self._moved(boxes[rows], pooled[rows], label, picture.shape[:2])
            found.append((own, scores.astype(np.float32), np.full(len(rows), label)))
        return Windows(*(np.concatenate(column) for column in zip(*found, strict=True)))

    def _moved(
        self, boxes: np.ndarray, pooled: np.ndarray, label: int, size: tuple[int, ...]
    ) -> np.ndarray:
        """Boxes [k, 4] after the regression of a class, within the picture; float32."""
        weights = self.get_buffer("box_weights")[label].cpu().numpy()
        deltas = pooled @ weights[:-1] + weights[-1]
        deltas = deltas @ self.array("box_unwhitened")[label] + self.array("box_means")[label]
        height, width = size
        return moved(boxes, deltas).clip(0, [width, height, width, height]).astype(np.float32)


def with_area(boxes: np.ndarray) -> np.ndarray:
    """Those of boxes [n, 4] that are not empty."""
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)]


def _owners(work: Work, row: int) -> tuple[PictureWindows, np.ndarray, np.ndarray]:
    """A picture's windows, which [m] of them are near an object, and the objects of these."""
    seen, near = _windows(work, row), _read(_file(work, "features", row), "near")
    counted = np.flatnonzero(~seen.ignore)
    if not near.any():
        return seen, near, np.zeros(0, np.int64)
    return seen, near, counted[seen.overlaps(counted)[near].argmax(axis=1)]


def _seen(sample: Sample, proposed: np.ndarray) -> PictureWindows:
    """The windows of a sample: objects of at least a pixel that are not ignored, and proposals.

    Objects that are not ignored come first, in their order.
    """
    sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
    real = np.flatnonzero((sides >= 1).all(axis=1))
    rows = real[np.argsort(sample.ignore[real], kind="stable")]
    objects, ignore = sample.boxes[rows].astype(np.float64), sample.ignore[rows]
    boxes = np.concatenate([objects[~ignore], proposed.astype(np.float64)])
    return PictureWindows(boxes, objects, sample.labels[rows], ignore)


def _told(miners: Mapping[int, Miner]) -> dict[str, float]:
    """How the mining went."""
    positives = sum(len(miner.positives) for miner in miners.values())
    negatives = sum(len(miner.negatives) for miner in miners.values())
    fits = sum(miner.fits for miner in miners.values())
    return {"positives": positives, "hard negatives": negatives, "fits": fits}


def _optimizer(network: CropNetwork, rates: Rates) -> torch.optim.SGD:
    """Biases learn twice as fast, and only matrices and kernels decay, as in the release."""
    groups = []
    for name, parameter in network.named_parameters():
        factor = rates.head if name.startswith("fc8") else 1.0
        group = {"params": [parameter], "factor": factor * (2 if name.endswith("bias") else 1)}
        groups.append(group | {"weight_decay": rates.decay if parameter.dim() > 1 else 0.0})
    return torch.optim.SGD(groups, rates.lr, rates.momentum)


def _set_rate(optimizer: torch.optim.SGD, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def _keep(file: Path, network: nn.Module, optimizer: torch.optim.SGD, number: int) -> None:
    """Write how far fine-tuning is."""
    state = {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "number": number}
    with whole_file(file, "wb") as stream:
        torch.save(state, stream)


def _resumed(file: Path, network: nn.Module, optimizer: torch.optim.SGD) -> int:
    """Read it; the iterations that are done."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["number"])


def _seed(seed: int, number: int) -> int:
    """Of one iteration."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:6], "big")


def _file(work: Work, kind: str, row: int) -> Path:
    return work.folder / f"{kind}_{row}.npz"


def _write(file: Path, **arrays: np.ndarray) -> None:
    with whole_file(file, "wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]  # numpy 2.x: of allow_pickle


def _read(file: Path, name: str) -> np.ndarray:
    with np.load(file) as stored:
        return stored[name]


def _described(work: Work, row: int) -> bool:
    """Whether a picture has windows, so that there have to be features."""
    return len(_windows(work, row).boxes) > 0


def _windows(work: Work, row: int) -> PictureWindows:
    with np.load(_file(work, "windows", row)) as stored:
        return PictureWindows(**{name: stored[name] for name in PictureWindows._fields})
