"""From darknet's raw outputs on pictures our parts make the detections that darknet makes."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from detectors.coders import Yolo
from detectors.postprocess import DIoU, Suppression
from detectors.priors import BoxGrid
from detectors.scores import ClassTimesQuality
from detectors.structures import Candidates, FeatureSpec, Predictions

SIDE, STRIDES = 320, [16, 32]
SHAPES = [  # yolo-fastest-1.1.cfg, masks 0,1,2 of stride 16 and 3,4,5 of stride 32
    [(12, 18), (37, 49), (52, 132)],
    [(115, 73), (119, 199), (242, 238)],
]
LEAST = 0.005  # the score above which darknet's detections were written down


@pytest.fixture(scope="module")
def folder(data_root: Path) -> Path:
    """A detector that was trained by darknet, and its own detections."""
    found = data_root / "yolo_fastest"
    if not found.is_dir():
        pytest.skip(f"{found} is missing")
    return found


def predicted(flat: np.ndarray) -> Predictions:
    """Of the outputs (channels, rows, columns) before the yolo layers of stride 32 and 16."""
    coarse, fine = torch.from_numpy(flat).split([255 * (SIDE // s) ** 2 for s in (32, 16)])
    levels = [
        level.view(3, 85, SIDE // s, SIDE // s).permute(2, 3, 0, 1).reshape(1, -1, 85)
        for level, s in ((fine, 16), (coarse, 32))
    ]
    raw = torch.cat(levels, dim=1)
    features = [torch.zeros(1, 1, SIDE // s, SIDE // s) for s in STRIDES]
    priors = BoxGrid(SHAPES)(features, [FeatureSpec(1, stride) for stride in STRIDES])
    return Predictions(raw[..., 5:], raw[..., :4], raw[..., 4], priors)


def detections(raw: Predictions) -> tuple[Tensor, Tensor, Tensor]:
    """Whole boxes relative to the picture, labels and scores, best first."""
    boxes = Yolo().decode(raw.deltas, raw.priors)
    candidates = Candidates(boxes, ClassTimesQuality()(raw.logits, raw.quality), raw.priors)
    part = Suppression(DIoU(0.45, 0.6), LEAST, per_level=10**5, detections=200, clip_first=False)
    far = torch.tensor([[-SIDE, -SIDE, 2.0 * SIDE, 2.0 * SIDE]])  # darknet's were not cut either
    found = part(candidates, far)
    valid = found.valid[0]
    return found.boxes[0, valid] / SIDE, found.labels[0, valid], found.scores[0, valid]


def test_detections_are_darknets(folder: Path) -> None:
    """As sets: each of darknet's is one of ours, and there are no others."""
    raw = np.load(folder / "raw_outputs.npz")
    oracle = json.loads((folder / "oracle.json").read_text())
    pictures = [name for name in oracle if name.isdigit()]
    assert len(pictures) == 4
    for name in pictures:
        boxes, labels, scores = detections(predicted(raw[name]))
        expected = torch.tensor(oracle[name])
        assert len(boxes) == len(expected)
        alike = (
            ((boxes[:, None] - expected[:, :4]).abs().amax(-1) < 1e-4)
            & (labels[:, None] == expected[:, 4])
            & ((scores[:, None] - expected[:, 5]).abs() < 1e-5)
        )
        assert alike.any(0).all(), name
        assert alike.any(1).all(), name
