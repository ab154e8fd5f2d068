"""Small data sets, and pycocotools as the oracle."""

import contextlib
import io

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detectors.metrics import PackedDetections
from detectors.structures import Annotations, Batch, Detections, Targets

Rows = list[tuple]


def annotations(
    sizes: dict[int, tuple[int, int]], objects: Rows, category_ids: tuple[int, ...] = (3, 7, 90)
) -> Annotations:
    """Objects are (image id, label, x1, y1, x2, y2[, kind]); kind "crowd" or "difficult"."""
    ids = np.array(list(sizes), dtype=np.int64)
    ordered = [row for image in sizes for row in objects if row[0] == image]
    boxes = np.array([row[2:6] for row in ordered], dtype=np.float64).reshape(-1, 4)
    kinds = np.array([row[6] if len(row) > 6 else "" for row in ordered], dtype=str)
    counts = [sum(row[0] == image for row in objects) for image in sizes]
    return Annotations(
        image_ids=ids,
        sizes=np.array(list(sizes.values()), dtype=np.int64).reshape(-1, 2),
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=boxes,
        labels=np.array([row[1] for row in ordered], dtype=np.int64),
        crowd=kinds == "crowd",
        difficult=kinds == "difficult",
        areas=(boxes[:, 2:] - boxes[:, :2]).prod(axis=1),
        classes=tuple(f"class{label}" for label in range(len(category_ids))),
        category_ids=category_ids,
    )


def packed(rows: Rows) -> PackedDetections:
    """Rows are (image id, label, score, x1, y1, x2, y2)."""
    return PackedDetections(
        image_ids=np.array([row[0] for row in rows], dtype=np.int64),
        labels=np.array([row[1] for row in rows], dtype=np.int64),
        scores=np.array([row[2] for row in rows], dtype=np.float64),
        boxes=np.array([row[3:7] for row in rows], dtype=np.float64).reshape(-1, 4),
    )


def batch(ids: list[int], to_original: list[list[float]]) -> Batch:
    """A batch of which only what the metric reads is meant."""
    empty = torch.zeros(len(ids), 0)
    targets = Targets(empty[..., None].repeat(1, 1, 4), empty.long(), empty.bool(), empty.bool())
    return Batch(
        torch.zeros(len(ids), 3, 8, 8, dtype=torch.uint8),
        targets,
        torch.zeros(len(ids), 4),
        torch.tensor(to_original),
        torch.tensor(ids),
    )


def detections(per_image: list[Rows]) -> Detections:
    """Rows are (label, score, x1, y1, x2, y2), padded to the longest image and one more."""
    length = max(map(len, per_image)) + 1
    table = torch.zeros(len(per_image), length, 6)
    valid = torch.zeros(len(per_image), length, dtype=torch.bool)
    for row, found in enumerate(per_image):
        table[row, : len(found)] = torch.tensor(found).reshape(-1, 6)
        valid[row, : len(found)] = True
    return Detections(table[..., 2:], table[..., 1], table[..., 0].long(), valid)


def coco_index(truth: Annotations) -> COCO:
    """Ground truth for pycocotools; difficult objects are not its matter."""
    rows = np.repeat(truth.image_ids, np.diff(truth.offsets)).tolist()
    corners = truth.boxes.copy()
    corners[:, 2:] -= corners[:, :2]
    index = COCO()
    index.dataset = {
        "images": [
            {"id": image, "height": height, "width": width}
            for image, (height, width) in zip(
                truth.image_ids.tolist(), truth.sizes.tolist(), strict=True
            )
        ],
        "categories": [
            {"id": identity, "name": name}
            for identity, name in zip(truth.category_ids, truth.classes, strict=True)
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": truth.category_ids[label],
                "bbox": box,
                "area": area,
                "iscrowd": int(crowd),
            }
            for number, (image, label, box, area, crowd) in enumerate(
                zip(
                    rows,
                    truth.labels.tolist(),
                    corners.tolist(),
                    truth.areas.tolist(),
                    truth.crowd.tolist(),
                    strict=True,
                ),
                1,
            )
        ],
    }
    index.createIndex()
    return index


def pycocotools_scores(truth: Annotations, results: list[dict]) -> dict[str, float]:
    """The same names as `coco_scores`, from pycocotools and COCO's results list."""
    with contextlib.redirect_stdout(io.StringIO()):
        index = coco_index(truth)
        found = index.loadRes(results) if results else COCO()
        evaluator = COCOeval(index, found, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    names = ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"]
    scores = dict(zip(names, evaluator.stats.tolist(), strict=True))
    for label, name in enumerate(truth.classes):
        row = sorted(truth.category_ids).index(truth.category_ids[label])
        values = evaluator.eval["precision"][:, :, row, 0, 2]
        scores[f"AP/{name}"] = float(values.mean()) if (values > -1).all() else -1.0
    return scores
