"""Boxes, objects and priors that tests of several folders share."""

from pathlib import Path

import torch
from torch import Tensor

from detectors.config.paths import CONF
from detectors.priors import BoxGrid, Points
from detectors.structures import FeatureSpec, Predictions, Priors, Progress, Targets

_MODELS = sorted((CONF / "model").glob("*.yaml"))
FITTED = [path.stem for path in _MODELS if "/detector: fitted" in path.read_text(encoding="utf-8")]
# All but those without a loss, and the one that is what a file of the user's says:
# tests/commands/test_fitted.py and tests/darknet/test_family.py
FAMILIES = [path.stem for path in _MODELS if path.stem not in {"darknet", *FITTED}]
# Of the parts of efficientdet_d0 and d7x, with other numbers.
SCALED = {f"efficientdet_d{size}" for size in range(1, 8)}
START = Progress(images_seen=1, step=0, steps=1)  # of a run, for losses without one
# Their ResNet-18 is that of fcos, retinanet and faster_rcnn, which keep it.
_LIKE_FCOS = ("atss", "foveabox", "foveabox_align", "gfl", "ota", "paa")
THIN = {  # words for fewer channels and layers, by family, where size=small leaves the published
    "retinanet": ["part.neck.channels=64", "part.tower.depth=1"],
    "retinanet_nas_fpn": [*("part.neck.channels=64", "part.neck.repeats=1", "part.tower.depth=1")],
    "fcos": ["part.neck.channels=64", "part.tower.depth=1"],
    **{
        family: ["backbone=darknet_thin", "part.neck.channels=64", "part.tower.depth=1"]
        for family in _LIKE_FCOS
    },
    "fast_rcnn": ["head=two_stage_windows", "part.head.region_head.width=64"],
    "faster_rcnn": ["part.neck.channels=64", "+part.head.region_head.width=64"],
    "cascade_rcnn": [
        "backbone=darknet_thin",
        "part.neck.channels=64",
        "+part.head.region_head.width=64",
    ],
    "iou_net": [
        "backbone=darknet_thin",
        "part.neck.channels=64",
        "+part.head.region_head.width=64",
        "+part.localization.branch.width=64",
    ],
    "centernet2": [
        "backbone=darknet_thin",
        "part.neck.channels=64",
        "part.tower.depth=1",
        "+part.two_stage.region_head.width=64",
    ],
    "centernet": ["part.neck.channels=64"],
    "centernet_triplets": ["part.backbone.stacks=1"],
    "cornernet": ["part.backbone.stacks=1"],
    "cornernet_squeeze": ["part.backbone.stacks=1"],
}


def files(group: str) -> list[Path]:
    """Those of a group of conf, but for the one that describes a file of the user's."""
    return sorted(file for file in (CONF / group).glob("*.yaml") if file.stem != "cfg")


def random_boxes(*shape: int, canvas: float = 64.0, smallest: float = 1.0) -> Tensor:
    """Boxes [*shape, 4] whose centres lie on the canvas, with sides up to half of it."""
    center = torch.rand(*shape, 2) * canvas
    side = smallest + torch.rand(*shape, 2) * canvas / 2
    return torch.cat([center - side / 2, center + side / 2], dim=-1)


def targets(*images: list[tuple], rows: int = 8) -> Targets:
    """Objects `(label, x1, y1, x2, y2)` of each image; a sixth entry "ignore" marks one.

    Padding holds a box that would be assigned if someone took it for real.
    """
    found = Targets(
        boxes=torch.tensor([8.0, 8.0, 24.0, 24.0]).repeat(len(images), rows, 1),
        labels=torch.zeros(len(images), rows, dtype=torch.int64),
        valid=torch.zeros(len(images), rows, dtype=torch.bool),
        ignore=torch.zeros(len(images), rows, dtype=torch.bool),
    )
    for image, objects in enumerate(images):
        for row, (label, *corners) in enumerate(objects):
            found.ignore[image, row] = corners[-1] == "ignore"
            found.boxes[image, row] = torch.tensor([float(side) for side in corners[:4]])
            found.labels[image, row] = label
            found.valid[image, row] = True
    return found


def random_targets(batch: int, rows: int, classes: int, canvas: float = 64.0) -> Targets:
    """Objects of all sizes; about one in eight is padding and as many are to be ignored."""
    return Targets(
        boxes=random_boxes(batch, rows, canvas=canvas, smallest=3.0),
        labels=torch.randint(classes, (batch, rows)),
        valid=torch.rand(batch, rows) > 0.125,
        ignore=torch.rand(batch, rows) < 0.125,
    )


def assignable_rows(objects: Targets, image: int) -> list[int]:
    """Rows of one image that stand for an object to be found."""
    return [
        row
        for row in range(objects.labels.shape[1])
        if objects.valid[image, row] and not objects.ignore[image, row]
    ]


def feature_maps(
    strides: list[int], height: int, width: int
) -> tuple[list[Tensor], list[FeatureSpec]]:
    """Empty levels over a canvas, rounded up as convolutions with padding do."""
    features = [torch.empty(1, 0, -(-height // s), -(-width // s)) for s in strides]
    return features, [FeatureSpec(0, stride) for stride in strides]


def alike(given: Targets) -> tuple[Tensor, Tensor]:
    """The same direction and IoU for every object, in the place of what `Jitter` draws."""
    rows = (*given.labels.shape, 2)
    return torch.full((*rows, 4), 0.5), torch.tensor([0.6, 0.9]).expand(rows)


def points(strides: list[int], height: int = 64, width: int = 64, offset: float = 0.5) -> Priors:
    """One point a cell."""
    return Points(len(strides), offset)(*feature_maps(strides, height, width))


def shapes(
    strides: list[int], sides: list[list[tuple[float, float]]], height: int = 64, width: int = 64
) -> Priors:
    """Boxes of the given sides in the middle of each cell."""
    return BoxGrid(sides)(*feature_maps(strides, height, width))


def predictions(priors: Priors, batch: int, classes: int) -> Predictions:
    """Random predictions of all priors, with quality."""
    count = priors.boxes.shape[1]
    return Predictions(
        logits=torch.randn(batch, count, classes),
        deltas=torch.randn(batch, count, 4),
        quality=torch.randn(batch, count),
        priors=priors,
    )
