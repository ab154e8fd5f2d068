"""The parts of a head that the detection layers of a cfg file of darknet ask for.

`[yolo]` layers mean the parts of model=yolov3 and yolov4, `[region]` those of yolov2, `[detection]`
those of yolov1, with the numbers of the cfg. There are two darknets that read `[yolo]` differently;
a file with one of the keys in `ALEXEYAB`, or whose masks leave out or share a shape, is read by the
rules of AlexeyAB's, any other by those of pjreddie's.

Every function takes the text of the cfg file.
"""

import math

from torch import nn

from detectors.assigners import Assigner
from detectors.assigners.best_shape import BestShape
from detectors.assigners.responsible import Responsible
from detectors.assigners.shape_threshold import ShapeThreshold
from detectors.coders import Coder, Yolo, YoloV1
from detectors.darknet.plan import Branch, planned
from detectors.darknet.sections import Section
from detectors.losses import LossTerm
from detectors.losses.box import YoloBox
from detectors.losses.classification import BinaryCrossEntropy
from detectors.losses.darknet_box import DarknetCIoU
from detectors.losses.quality import Objectness
from detectors.losses.squares import (
    SoftmaxClass,
    SquaredBox,
    SquaredClass,
    SquaredObjectness,
    YoloV2Box,
)
from detectors.postprocess import DIoU, Greedy, Suppressor
from detectors.priors import BoxGrid, CellShapes, PriorGrid, WholeImage
from detectors.ranges import Share
from detectors.scores import (
    ClassTimesQuality,
    LinearClassTimesQuality,
    Score,
    SoftmaxTimesQuality,
)

ALEXEYAB = (
    *("scale_x_y", "iou_thresh", "iou_loss", "iou_normalizer", "obj_normalizer", "cls_normalizer"),
    *("delta_normalizer", "max_delta", "label_smooth_eps", "nms_kind", "beta_nms", "new_coords"),
    *("iou_thresh_kind", "objectness_smooth", "show_details", "resize"),
)
GATE = 0.25  # AlexeyAB's src/yolo_layer.c, compare_yolo_class
GREEDY = 0.6  # power of the distance in the greedynms of AlexeyAB's src/box.c, box_diou
DEFAULT_WEIGHT = 0.75  # of boxes, iou_normalizer in AlexeyAB's src/parser.c


def priors(network: str) -> PriorGrid:
    """The anchors of each level."""
    plan = planned(network)
    if plan.kind == "detection":
        return WholeImage(plan.branches[0].section["num"])
    if plan.kind == "region":
        return CellShapes([_anchors(branch.section) for branch in plan.branches])
    return BoxGrid([[_anchors(b.section)[row] for row in _mask(b.section)] for b in plan.branches])


def coder(network: str) -> Coder:
    """How the numbers of a box are read."""
    plan = planned(network)
    if plan.kind == "detection":
        return YoloV1()
    if plan.kind == "region":
        return Yolo()
    scales = [branch.section["scale_x_y"] for branch in plan.branches]
    return Yolo(scales[0] if len(set(scales)) == 1 else scales)


def assigner(network: str) -> Assigner:
    """Which anchors an object trains."""
    plan = planned(network)
    section = plan.branches[0].section
    if plan.kind == "detection":
        return Responsible()
    if plan.kind == "region":
        return BestShape(_share(section, "thresh"))
    ignore = _share(section, "ignore_thresh")
    if not _of_alexeyab(plan.branches):
        return BestShape(ignore)
    used = [row for branch in plan.branches for row in _mask(branch.section)]
    unused = [shape for row, shape in enumerate(_anchors(section)) if row not in used]
    return ShapeThreshold(_share(section, "iou_thresh"), ignore, GATE, unused, len(used))


def class_loss(network: str) -> LossTerm:
    """What a wrong class costs."""
    plan = planned(network)
    section = plan.branches[0].section
    if plan.kind == "detection":
        return SquaredClass(section["class_scale"])
    if plan.kind == "region":
        return SoftmaxClass(section["class_scale"])
    return BinaryCrossEntropy(background=False, smoothing=_share(section, "label_smooth_eps"))


def box_loss(network: str) -> LossTerm:
    """What a wrong box costs.

    Raises:
        ValueError: darknet's gradient of that loss is not here.
    """
    plan = planned(network)
    section = plan.branches[0].section
    if plan.kind == "detection":
        return SquaredBox(section["coord_scale"])
    if plan.kind == "region":
        return YoloV2Box(section["coord_scale"])
    weight = section["iou_normalizer"]
    if weight is None:
        weight = DEFAULT_WEIGHT if _of_alexeyab(plan.branches) else 1.0
    if section["iou_loss"] == "ciou":
        limit = section["max_delta"]
        return DarknetCIoU(weight, math.inf if limit is None else limit)
    if section["iou_loss"] != "mse":
        raise section.refusal(
            "darknet's own gradient of it is not here, which is not the derivative: write "
            "iou_loss=ciou or mse, or choose box_loss=giou, diou or iou, the derivatives",
            "iou_loss",
        )
    for branch in plan.branches:
        if branch.section["scale_x_y"] != 1:
            raise branch.section.refusal(
                "is not supported beside iou_loss=mse: write iou_loss=ciou, or choose a box_loss, "
                "such as box_loss=ciou_darknet",
                "scale_x_y",
            )
    return YoloBox(weight)


def quality_loss(network: str) -> LossTerm:
    """What a wrong objectness costs."""
    plan = planned(network)
    section = plan.branches[0].section
    if plan.kind == "yolo":
        return Objectness(section["obj_normalizer"])
    activation = nn.Identity() if plan.kind == "detection" else nn.Sigmoid()
    return SquaredObjectness(activation, section["object_scale"], section["noobject_scale"])


def score(network: str) -> Score:
    """How a class and an objectness become a score."""
    made = {
        "yolo": ClassTimesQuality(),
        "region": SoftmaxTimesQuality(),
        "detection": LinearClassTimesQuality(),
    }
    return made[planned(network).kind]


def suppressor(network: str, threshold: Share) -> Suppressor:
    """How boxes that repeat better ones are found, by `nms_kind` and `beta_nms`.

    Args:
        threshold: above which they go; no cfg says it.
    """
    plan = planned(network)
    section = plan.branches[0].section
    kind = section["nms_kind"] if plan.kind == "yolo" else "default"
    if kind == "default":
        return Greedy(threshold)
    return DIoU(threshold, GREEDY if kind == "greedynms" else section["beta_nms"])


def _of_alexeyab(branches: tuple[Branch, ...]) -> bool:
    """Whether the rules of AlexeyAB's darknet hold."""
    used = [row for branch in branches for row in _mask(branch.section)]
    regular = sorted(used) == list(range(branches[0].section["num"]))
    return not regular or any(branch.section.said(*ALEXEYAB) for branch in branches)


def _anchors(section: Section) -> list[tuple[float, float]]:
    """(width, height) of each anchor, of a `[yolo]` in pixels and of a `[region]` in cells."""
    numbers, count = section["anchors"] or (), section["num"]
    if len(numbers) < 2 * count or min(numbers, default=0) <= 0:
        raise section.refusal(f"expected {2 * count} numbers above 0 for num={count}", "anchors")
    return [(numbers[2 * row], numbers[2 * row + 1]) for row in range(count)]


def _mask(section: Section) -> list[int]:
    """Which of the anchors the level has; all of them if it does not say."""
    rows = section["mask"] if section["mask"] is not None else range(section["num"])
    if len(set(rows)) != len(rows) or not all(0 <= row < section["num"] for row in rows):
        raise section.refusal(f"expected different numbers below num={section['num']}", "mask")
    return list(rows)


def _share(section: Section, key: str) -> float:
    if section[key] > 1:
        raise section.refusal("expected a number in [0, 1]", key)
    return section[key]
