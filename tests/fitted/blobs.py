"""The smallest fitted model: a colour for each class, a window of their mean size."""

import os
import signal
from collections.abc import Mapping

import numpy as np
import torch

from detectors.fitted import Fitted, Windows, Work
from detectors.ranges import Count


class Blobs(Fitted):
    """Windows whose mean colour is near that of a class.

    Args:
        num_classes: of the data.
        step: pixels from one window to the next.
        weights: a file with the colours and the side, which leaves nothing to fit.
    """

    stages = ("colours", "side")

    def __init__(self, num_classes: Count, step: Count = 8, weights: str | None = None) -> None:
        super().__init__()
        self.num_classes, self.step = num_classes, step
        if weights is not None:
            stored = np.load(weights)
            self.start_with(colours=stored["colours"], side=stored["side"])

    def described(self) -> Mapping[str, object]:
        return {"numbers": 3 * self.num_classes + 1}

    def fit(self, stage: str, work: Work) -> Mapping[str, float]:
        if os.environ.get("BLOBS_KILLED_IN") == stage:
            os.kill(os.getpid(), signal.SIGTERM)
        return self._colours(work) if stage == "colours" else self._side(work)

    def _colours(self, work: Work) -> Mapping[str, float]:
        found: list[list[np.ndarray]] = [[] for _ in range(self.num_classes)]
        for sample in work.tracked(work.examples, "colours"):
            for box, label in zip(sample.boxes.astype(int), sample.labels, strict=True):
                part = sample.image[box[1] : box[3], box[0] : box[2]].reshape(-1, 3)
                found[label].append(part.mean(0) + 1e-3 * work.random("noise", sample.id).random())
        assert not (work.folder / "old.txt").exists()
        self.keep(colours=np.array([np.mean(rows, 0) for rows in found], np.float32))
        (work.folder / "boxes.txt").write_text("some")
        return {"boxes": sum(map(len, found))}

    def _side(self, work: Work) -> Mapping[str, float]:
        assert (work.folder / "boxes.txt").read_text() == "some"
        boxes = np.concatenate([sample.boxes for sample in work.examples])
        side = float(np.mean(boxes[:, 2:] - boxes[:, :2]) * (1 + 1e-6 * torch.rand(())))
        self.keep(side=torch.tensor(side))
        return {"side": side}

    def scan(self, picture: np.ndarray) -> Windows:
        side = round(float(self.array("side")))
        height, width = picture.shape[:2]
        rows, columns = np.mgrid[0 : height - side : self.step, 0 : width - side : self.step]
        corners = np.stack([columns, rows], -1).reshape(-1, 2)
        means = [picture[y : y + side, x : x + side].mean((0, 1)) for x, y in corners]
        apart = np.linalg.norm(np.array(means)[:, None] - self.array("colours"), axis=-1)
        boxes = np.concatenate([corners, corners + side], 1).astype(np.float32)
        return Windows(boxes, np.exp(-apart.min(1) / 64).astype(np.float32), apart.argmin(1))
