"""Every file of conf works somewhere, words combine freely, and what cannot work is refused."""

import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

import detectors
from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.config.paths import CONF
from detectors.layers.norm import FrozenBatchNorm
from detectors.layers.progress import tell
from detectors.structures import Targets
from tests.examples import FAMILIES, START, THIN
from tests.shapes import shapes_only
from tests.test_models import SAME_HEADS, TRACED_SLOWLY
from tests.test_sizes import PUBLISHED

GROUPS = {path.name for path in CONF.iterdir() if path.is_dir()}
# Groups whose choice is a part of the model, ...
SLOTS = {
    group
    for group in GROUPS
    if any(f"@package part.{group}\n" in file.read_text() for file in (CONF / group).glob("*.yaml"))
}
# ... and those beside it. `loader` is included by the files of data; recipes, studies, searches,
# `tta`, which belongs to `evaluate`, and `method` of `propose` have their own tests.
SLOTS -= {"fitted"}  # which is all of a model: tests/fitted
OTHERS = GROUPS - SLOTS - {"model", "experiment", "loader", "tta", "study", "search", "method"}
OTHERS -= {"detector", "fitted"}
EXTRAS = {("logger", "mlflow")}  # its package may be missing: tests/callbacks/test_trackers.py
ELSEWHERE = {("trainer", name) for name in ("gpu", "ddp", "mps")}  # tests/engine/test_hardware.py
PRETRAINED = {("data", "imagefolder")}  # what `detectors train` refuses and `pretrain` takes
SEVERAL = {"logger", "callback", "metric", "trick"}  # a list may be chosen
COMPANIONS = {"closing_mosaic": "mosaic,"}  # what a choice is refused without
SIZES = ("small", "full")
SIZED = {family for family, *_ in PUBLISHED}
TAKE_MUCH = {"fcos", "yolov3"}  # of parts that are no family's
OVERRIDE = re.compile(r"^  - override /(\w+): (\S+)", re.MULTILINE)

# Crosses of families that nobody published: FCOS on YOLOv4's backbone and neck, and RetinaNet with
# SSD's default boxes.
FCOS_ON_PAN = (
    "backbone=csp_darknet_small neck=pan part.neck.channels=64 part.levels=[8,16,32] "
    "part.priors.levels=3"
)
SSD_BOXES = (
    "priors=ssd300_coco part.priors.sizes=[[21,45],[45,99],[99,153],[153,207],[207,261]] "
    "part.priors.ratios=[[2,3],[2,3],[2,3],[2,3],[2,3]]"
)


def choices(groups: set[str]) -> list[tuple[str, str]]:
    """(group, choice) of every file of these groups, but for what needs a file of the user's."""
    files = sorted(path for group in groups for path in (CONF / group).glob("*.yaml"))
    return [(path.parent.name, path.stem) for path in files if path.stem != "cfg"]


def taken_by_families() -> set[tuple[str, str]]:
    """(group, choice) that the file of some family names, in both sizes."""
    texts = ((CONF / "model" / f"{family}.yaml").read_text() for family in FAMILIES)
    lines = {line for text in texts for line in OVERRIDE.findall(text)}
    return {(slot, choice.replace("${size}", size)) for slot, choice in lines for size in SIZES}


def works(family: str, *words: str, size: str = "small") -> None:
    """Shapes fit from the images to the losses and detections, tried without any values.

    As in a graph: only there no shape depends on values.
    """
    with shapes_only(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        detector = detectors.build(
            family, [f"size={size}", "image_size=[128,160]", *words], num_classes=3
        )
        tell(detector, START)
        images, rows = torch.empty(2, 3, 128, 160), (2, 8)
        valid, ignore = torch.empty(2, *rows, dtype=torch.bool)
        boxes, labels = torch.empty(*rows, 4), torch.empty(rows, dtype=torch.int64)
        features = detector.features(images)
        patch.setattr(detector, "features", lambda _: features)  # which take most of the time
        losses = detector.loss(images, Targets(boxes, labels, valid, ignore))
        assert all(term.shape == () for term in losses.values())
        assert len(detector(images).boxes) == 2


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, FrozenBatchNorm, partial(nn.GroupNorm, 2)])
def test_a_norm_of_other_channels_does_not_work(norm: Callable[[int], nn.Module]) -> None:
    with shapes_only():
        made, images = norm(4), torch.empty(1, 4, 2, 2)
        assert made(images).shape == images.shape
        with pytest.raises(AssertionError):
            made(images[:, :3])
        made.weight = made.weight[:3] if norm is FrozenBatchNorm else nn.Parameter(made.weight[:3])
        with pytest.raises(AssertionError):
            made(images)


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=[pytest.mark.slow] * (f in SIZED)) for f in FAMILIES]
)
def test_every_family_works(family: str) -> None:
    """At its published size, at which most detect in tests/test_sizes.py too.

    Small ones compute losses here, or in tests/test_models.py.
    """
    words = ["head=two_stage_windows"] if family == "fast_rcnn" else []  # no file of proposals
    works(family, *words, size="full")


@pytest.mark.slow  # the recipes of tests/test_recipes.py train them, some with fewer channels
@pytest.mark.parametrize("family", sorted(TRACED_SLOWLY | SAME_HEADS | THIN.keys() - {"fast_rcnn"}))
def test_what_is_slow_to_trace_or_made_thin_elsewhere_works(family: str) -> None:
    works(family)


def likely_first(slot: str, choice: str) -> list[str]:
    """All families: those that name the choice, those named like it, those that take much."""
    word = f"override /{slot}: {choice.removesuffix('_small').removesuffix('_full')}"

    def far(family: str) -> tuple[bool, bool, bool]:
        named = word in (CONF / "model" / f"{family}.yaml").read_text()
        return not named, family not in choice, family not in TAKE_MUCH

    return sorted(FAMILIES, key=far)


@pytest.mark.parametrize(
    ("slot", "choice"), [cell for cell in choices(SLOTS) if cell not in taken_by_families()]
)
def test_every_other_part_works_in_some_family(slot: str, choice: str) -> None:
    reasons = []
    for family in likely_first(slot, choice):
        try:
            works(family, f"{slot}={choice}")
            return
        except ValueError as reason:  # it belongs elsewhere
            reasons.append(f"{family}: {reason}")
    pytest.fail("\n".join(reasons))


@pytest.mark.parametrize(
    ("group", "choice"), [cell for cell in choices(OTHERS) if cell not in EXTRAS | ELSEWHERE]
)
def test_every_choice_beside_the_model_is_made(group: str, choice: str, tmp_path: Path) -> None:
    chosen = f"[{COMPANIONS.get(choice, '')}{choice}]"
    word = f"{group}={chosen}" if group in SEVERAL else f"{group}={choice}"
    words = [word, "device=cpu", f"run_dir={tmp_path}"]
    pretrained = (group, choice) in PRETRAINED
    cfg = compose(words, "pretrain") if pretrained else compose(["model=fcos", *words])
    for key in unsaid(OmegaConf.to_container(cfg, resolve=False)):
        OmegaConf.update(cfg, key, 1 if key.endswith("num_classes") else "a/path")
    for key in ("data", "optimizer", "learning_rate", "trainer", "metrics"):
        if key in cfg and (pretrained or raw(cfg)[key] != plain()[key]):
            assert instantiate(cfg, key) is not None


def test_what_no_choice_changes_is_made(tmp_path: Path) -> None:
    cfg = compose(["model=fcos", "device=cpu", f"run_dir={tmp_path}"])
    for key in ("data", "optimizer", "learning_rate", "trainer", "metrics"):
        assert instantiate(cfg, key) is not None


@cache
def plain() -> dict[str, Any]:
    """What FCOS is trained with, where no choice changes it."""
    return raw(compose(["model=fcos"]))


def raw(cfg: DictConfig) -> dict[str, Any]:
    """As the files say it, links and all."""
    found = OmegaConf.to_container(cfg, resolve=False)
    assert isinstance(found, dict)
    return {str(name): node for name, node in found.items()}


@pytest.mark.parametrize("command", ["train", "pretrain"])
def test_a_trainer_may_do_without_loggers_and_callbacks(command: str, tmp_path: Path) -> None:
    words = ["logger=[]", "callback=[]", "device=cpu", f"run_dir={tmp_path}"]
    trainer = instantiate(compose(words, command), "trainer")
    assert trainer.loggers == []


def unsaid(node: Any, path: str = "") -> Iterator[str]:
    """What a user has to say, for it stands as ??? in the files."""
    if node == "???":
        yield path
    for name, child in node.items() if isinstance(node, dict) else ():
        yield from unsaid(child, f"{path}.{name}" if path else name)


@pytest.mark.parametrize(
    "words",
    [
        "fcos backbone=darknet_small neck=fpn_c5 act=mish",
        "fcos tower=level norm=group32",
        "fcos tower=shared quality_loss=none score=class assigner=max_iou",
        "retinanet priors=points coder=distance assigner=center_sampling box_loss=giou",
        "retinanet box_loss=giou norm=group32 pixel_stats=unit",
        "retinanet assigner=max_iou_sampled class_loss=bce loss_normalizer=counted",
        "retinanet tower=shared_quality quality_loss=centerness score=class_times_quality",
        "yolov3 backbone=resnet_small box_loss=ciou",
        "yolov3 neck=fpn norm=batch act=silu score=class class_loss=focal",
        "centernet backbone=darknet_small norm=none act=leaky postprocess=nms",
        "centernet neck=deconv tower=shared box_loss=giou",
        "faster_rcnn backbone=mobilenetv3 box_loss=giou norm=frozen",
        "faster_rcnn head=dense class_loss=bce score=class postprocess=nms",
        "faster_rcnn backbone=csp_darknet_small neck=fpn_pool",
        "yolov2 neck=identity part.levels=[32]",
        "yolov3 neck=pan assigner=shape_threshold act=mish",
        "yolov4 priors=points part.priors.levels=3 coder=distance assigner=center_sampling "
        "box_loss=giou",
        "yolov4 neck=fpn box_loss=giou",
        "ssd300 backbone=darknet_small part.levels=[8,16]",
        f"fcos {FCOS_ON_PAN}",
        f"retinanet {SSD_BOXES}",
    ],
)
def test_a_cross_that_nobody_wrote_a_file_for_works(words: str) -> None:
    works(*words.split())


@pytest.mark.parametrize(
    ("words", "ends"),
    [
        ("retinanet neck=topdown", ["priors", "5 feature levels", "neck delivers 3"]),
        ("yolov3 neck=fpn_c5", ["priors", "3 feature levels", "neck delivers 5"]),
        (
            "centernet neck=fpn part.levels=[16,32] part.priors.levels=2",
            ["CenterNetTower", "neck delivers 2"],
        ),
        ("centernet priors=anchors part.priors.sizes=[[32]]", ["CenterNetTower", "priors are 3"]),
        ("yolov3 tower=shared", ["SharedTower", "neck"]),
        ("retinanet head=two_stage", ["pooled from stride 4", "neck offers"]),
        ("retinanet quality_loss=objectness", ["Objectness", "SharedTower predicts none"]),
        ("centernet quality_loss=centerness", ["Centerness", "CenterNetTower"]),
        ("retinanet score=root", ["RootOfClassTimesQuality", "quality_loss"]),
        ("fcos quality_loss=none", ["RootOfClassTimesQuality", "no loss", "score=class"]),
        ("retinanet class_loss=softmax", ["SoftmaxCrossEntropy", "SharedTower predicts none"]),
        ("fcos score=softmax", ["SoftmaxWithoutBackground", "SharedTower"]),
        ("retinanet_v2 priors=ssd300_coco", ["6 feature levels", "neck delivers 5"]),
        ("retinanet priors=ssd300_coco", ["SharedTower", "[4, 6, 6, 6, 4, 4]"]),
        ("fcos backbone=csp_darknet_small neck=pan", ["5 feature levels", "neck delivers 3"]),
        ("ssd300 class_loss=focal", ["SSDTower predicts background", "hard_negatives"]),
        ("ssd300 score=class", ["SSDTower", "ClassAlone does not know"]),
        ("faster_rcnn class_loss=focal", ["TwoMLPHead predicts background", "softmax"]),
        ("yolov1 class_loss=bce", ["teaches logistic scores", "LinearClassTimesQuality"]),
        ("yolov2 class_loss=bce", ["BinaryCrossEntropy", "takes softmax ones"]),
        ("fcos coder=distribution box_loss=l1", ["SmoothL1", "DistanceDistribution"]),
        ("centernet coder=distribution", ["decodes 68 numbers", "CenterNetTower regresses four"]),
        ("faster_rcnn assigner=sim_ota", ["SimOTA", "SoftmaxWithoutBackground", "ClassAlone"]),
        ("faster_rcnn quality_loss=objectness", ["does not use 'quality_loss'", "box_loss"]),
        ("localizer priors=points_single", ["GlobalTower", "Points", "priors=canvas"]),
        ("centernet priors=canvas", ["Canvas", "CenterNetTower", "tower=global"]),
        ("localizer class_loss=softmax", ["SoftmaxCrossEntropy", "GlobalTower predicts none"]),
        ("fcos part.levels=[8,16,64]", ["resnet18", "stride 64", "[2, 4, 8, 16, 32]"]),
        ("yolov3 norm=group32", ["32 groups", "8 channels"]),
    ],
)
def test_what_cannot_work_is_refused_by_the_names_of_both_ends(words: str, ends: list[str]) -> None:
    family, *rest = words.split()
    with shapes_only(), pytest.raises(ValueError, match=r"\w") as refusal:
        detectors.build(family, ["size=small", *rest])
    assert [end for end in ends if end not in str(refusal.value)] == [], str(refusal.value)
