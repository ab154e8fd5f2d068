"""A detector that darknet trained gives here what it gives in darknet's own C code."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detectors.config.instantiate import instantiate
from detectors.detector import Detector
from detectors.engine.build import configured, initial_detector
from detectors.metrics import DetectionMetric
from detectors.metrics.coco import coco_scores

SIDE = 320


@pytest.fixture(scope="module")
def folder(data_root: Path) -> Path:
    return data_root / "yolo_fastest"


@pytest.fixture(scope="module")
def words(folder: Path) -> list[str]:
    file = folder / "yolo-fastest-1.1"
    return ["model=darknet", f"part.cfg={file}.cfg", f"weights=darknet:{file}.weights"]


@pytest.fixture(scope="module")
def detector(words: list[str]) -> Detector:
    return initial_detector(configured(words)).eval()


def image(folder: Path, number: str) -> torch.Tensor:
    """[1, 3, H, W] of a picture that is stretched already."""
    picture = cv2.imread(str(folder / "pictures" / f"{int(number):012d}.png"))
    return torch.from_numpy(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)[None]


@torch.no_grad()
def test_outputs_and_boxes_are_darknets(detector: Detector, folder: Path) -> None:
    raw, oracle = (
        np.load(folder / "raw_outputs.npz"),
        json.loads((folder / "oracle.json").read_text()),
    )
    part: Any = detector.postprocess
    for number in raw.files:
        pixels = image(folder, number)
        levels = zip(detector.head.tower.levels, detector.features(pixels), strict=True)
        outputs = [level(feature).flatten().numpy() for level, feature in levels]
        np.testing.assert_allclose(np.concatenate(outputs[::-1]), raw[number], atol=1e-4, rtol=0)
        frames = torch.tensor([[0.0, 0.0, SIDE, SIDE]])
        left = part.suppressor(part.rank(detector.candidates(pixels, frames), frames))
        best = (left.valid & (left.scores > 0.005))[0].nonzero()[:200, 0]
        expected = torch.tensor(oracle[number])
        assert left.labels[0, best].tolist() == expected[:, 4].tolist()
        torch.testing.assert_close(left.scores[0, best], expected[:, 5], atol=1e-5, rtol=0)
        torch.testing.assert_close(left.boxes[0, best], SIDE * expected[:, :4], atol=1e-3, rtol=0)


@pytest.mark.slow
@torch.inference_mode()
def test_average_precision_is_that_of_darknets_boxes(words: list[str], data_root: Path) -> None:
    """As the README beside the weights states it, of whole boxes and all of them; and ours."""
    cfg = configured([*words, "data=coco_tiny", "data.num_workers=0"])
    detector, data = initial_detector(cfg).eval(), instantiate(cfg, "data")
    data.setup("validate")
    truth = data.annotations("val")
    ours, whole, part = DetectionMetric(truth), [], detector.postprocess
    part.per_level = 10**5
    for batch in data.val_dataloader():
        candidates = detector.candidates(batch.images, batch.frames)
        ours.update(part(candidates, batch.frames), batch)
        left = part.suppressor(part.rank(candidates, batch.frames))
        back = batch.to_original[:, None]
        boxes = left.boxes * back[..., [0, 1, 0, 1]] + back[..., [2, 3, 2, 3]]
        for row in range(len(batch.ids)):
            keep = left.valid[row]
            found = zip(
                boxes[row, keep], left.scores[row, keep], left.labels[row, keep], strict=True
            )
            whole += [
                {
                    "image_id": int(batch.ids[row]),
                    "category_id": truth.category_ids[label],
                    "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
                    "score": float(score),
                }
                for box, score, label in found
            ]
    with contextlib.redirect_stdout(io.StringIO()):
        official = COCO(str(data_root / "coco_tiny/annotations/instances_val2017.json"))
        evaluation = COCOeval(official, official.loadRes(whole), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    stated = [0.157, 0.316, 0.152, 0.032, 0.173, 0.283, 0.282]
    np.testing.assert_allclose(evaluation.stats[[0, 1, 2, 3, 4, 5, 8]], stated, atol=6e-4)
    scores = coco_scores(*ours.evaluated())
    assert [round(scores[name], 4) for name in ("AP", "AP50")] == [0.1585, 0.3114]
