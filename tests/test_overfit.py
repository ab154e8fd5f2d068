"""Every family learns eight real images by heart; an object that it misses even there is a bug."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

import detectors
from detectors.data.augment.transforms import Stretch
from detectors.data.module import DetectionData
from detectors.data.sources.voc import read_voc
from detectors.engine.hardware import has_bf16
from detectors.layers.progress import tell
from detectors.metrics import DetectionMetric
from detectors.structures import Progress

CLASSES, IMAGES = ("RBC", "WBC", "Platelets"), 8


class Recipe(NamedTuple):
    """How a family is fitted to cells of 10 to 100 pixels and to a minute or two on one core."""

    steps: int
    rate: float  # largest learning rate
    words: list[str]
    side: int = 256  # pixels


SLIM = ["part.neck.channels=64", "part.tower.depth=2"]
FEW = "{per_level: 200, detections: 100}"
SMALLER = "part.priors.sizes=[[10],[20],[40],[80],[160]]"
SMALLEST = "part.priors.sizes=[[8],[16],[32],[64],[128]]"
SHAPES = "part.priors.shapes=[[[12,14],[18,20]],[[28,34],[34,28]],[[44,44],[70,70]]]"
SQUARES = "part.priors.shapes=[[[16,16]],[[32,32]],[[64,64]],[[128,128]],[[256,256]]]"
STEADY = "norm=batch"  # darknet's running statistics take 500 steps to arrive


def few(stages: str, count: int = 64) -> list[str]:
    """Words for few regions between the two stages that lie there."""
    proposals = [f"{stages}.{which}_proposals={FEW}" for which in ("train", "test")]
    return [*proposals, f"{stages}.sampler.count={count}"]


def thin(stages: str) -> list[str]:
    """Words for a thin network with the two stages that lie there."""
    network = ["backbone=darknet_thin", *SLIM[:1]]
    return [*network, *few(stages), f"+{stages}.region_head.width=256"]


ONE_LEVEL = [
    *("part.backbone.name=resnet10t", "part.pooler.size=7"),
    "part.priors.sizes=[[10,16,26,42,68]]",
    *few("part.head", count=32),
]
RECIPES = {
    "yolov1": Recipe(
        steps=200,
        rate=1e-3,
        words=[
            STEADY,
            "part.levels=[32]",  # a cell has one class and learns one object
            "part.tower.hidden.dropout=0",
        ],
    ),
    "yolov2": Recipe(
        steps=120,
        rate=1e-3,
        words=[
            STEADY,
            "part.backbone.width=16",
            "part.priors.shapes=[[[0.4,0.45],[0.9,1.0],[1.1,0.9],[1.4,1.4],[2.2,2.2]]]",
        ],
    ),
    "yolov4": Recipe(steps=120, rate=1e-3, words=[STEADY, "part.backbone.width=16", SHAPES]),
    "yolox_s": Recipe(steps=120, rate=1e-3, words=[STEADY]),
    "ssd300": Recipe(steps=120, rate=1e-3, words=[], side=300),
    "retinanet": Recipe(
        steps=120,
        rate=1e-3,
        words=[*SLIM, "part.priors.sizes=[[10,13],[20,26],[40,52],[80,100],[160,200]]"],
    ),
    "retinanet_nas_fpn": Recipe(
        steps=120,
        rate=1e-3,
        words=[
            *("backbone=darknet_thin", *SLIM, "part.neck.repeats=2"),
            "part.priors.sizes=[[10,13],[20,26],[40,52],[80,100],[160,200]]",
        ],
    ),
    "fcos": Recipe(steps=120, rate=1e-3, words=SLIM),
    "atss": Recipe(steps=120, rate=1e-3, words=[*SLIM, SQUARES]),
    "ota": Recipe(steps=120, rate=1e-3, words=SLIM),
    "paa": Recipe(steps=120, rate=1e-3, words=[*SLIM, SQUARES]),
    "foveabox": Recipe(steps=120, rate=1e-3, words=SLIM),
    "foveabox_align": Recipe(steps=80, rate=1e-3, words=["backbone=darknet_thin", *SLIM]),
    "gfl": Recipe(steps=120, rate=1e-3, words=[*SLIM, "part.assigner.point_side=2"]),
    "yolov3": Recipe(
        steps=120,
        rate=1e-3,
        words=[
            STEADY,
            "part.backbone.width=16",
            SHAPES,
        ],
    ),
    "efficientdet_d0": Recipe(
        steps=120,
        rate=3e-3,
        words=[
            STEADY,
            "backbone=darknet_thin",
            "part.neck.repeats=1",
            "part.tower.depth=2",
            "part.priors.scale=2.0",
        ],
    ),
    "centernet": Recipe(steps=120, rate=1e-3, words=SLIM[:1]),
    "cornernet": Recipe(steps=120, rate=1e-3, words=["part.backbone.stacks=1"], side=192),
    # Corners of cells that nearly touch must lie two cells of 8 pixels apart, else one hides the
    # other; and a picture has up to 22 objects, of which its 20 corners would miss some.
    "cornernet_squeeze": Recipe(
        steps=120,
        rate=1e-3,
        words=["part.backbone.stacks=1", "part.head.head.grouping.most=40"],
        side=384,
    ),
    "centernet_triplets": Recipe(steps=120, rate=1e-3, words=["part.backbone.stacks=1"], side=192),
    "faster_rcnn": Recipe(steps=120, rate=1e-3, words=[*SLIM[:1], SMALLER, *few("part.head")]),
    "faster_rcnn_c4": Recipe(steps=200, rate=1e-3, words=ONE_LEVEL),
    "faster_rcnn_kl": Recipe(steps=120, rate=2e-3, words=[*thin("part.head"), SMALLEST], side=160),
    "cascade_rcnn": Recipe(steps=120, rate=2e-3, words=[*thin("part.head"), SMALLEST], side=160),
    "cascade_rcnn_c4": Recipe(steps=200, rate=1e-3, words=ONE_LEVEL),
    # Boxes that begin with 8 strides to each side come to 15 pixels too late for so few steps.
    "centernet2": Recipe(
        steps=200, rate=2e-3, words=[*thin("part.two_stage"), "part.tower.reach=1"]
    ),
    "centernet2_f": Recipe(
        steps=260, rate=2e-3, words=[*thin("part.two_stage"), "part.tower.reach=1"]
    ),
    "iou_net": Recipe(
        steps=100,
        rate=2e-3,
        words=[
            *thin("part.head"),
            SMALLEST,
            "+part.localization.branch.width=256",
            "part.localization.jitter.count=4",
        ],
        side=160,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("family", RECIPES)
def test_learns_eight_images(family: str, data_root: Path) -> None:
    steps, rate, words, side = RECIPES[family]
    read = partial(read_voc, data_root / "bccd", "trainval", CLASSES, one_based=False)
    data = DetectionData(read, read, len(CLASSES), Stretch(side), batch_size=IMAGES, num_workers=0)
    batch = next(iter(data.val_dataloader()))
    detector = detectors.build(
        family, ["size=small", f"image_size={side}", *words], num_classes=len(CLASSES)
    )
    optimizer = AdamW(detector.parameters(), rate)
    schedule = OneCycleLR(optimizer, rate, steps)
    for step in range(steps):
        tell(detector, Progress(IMAGES * (step + 1), step, steps))
        with torch.autocast("cpu", torch.bfloat16, enabled=has_bf16("cpu")):
            losses = detector.loss(batch.images, batch.targets, batch.frames)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
        schedule.step()
    metric = DetectionMetric(data.annotations("val"))
    metric.update(detector.eval()(batch.images, batch.frames), batch)
    assert metric.compute()["AP50"] > 0.9
