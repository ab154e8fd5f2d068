"""Every recipe of conf/experiment takes two steps and validates, on small pictures."""

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf, open_dict

from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.config.paths import CONF
from detectors.engine.build import configured, sketch
from detectors.engine.trainer import assemble
from detectors.fitted.detector import FittedDetector
from tests.examples import FITTED
from tests.test_conf import FCOS_ON_PAN, SSD_BOXES

STAGED = {"faster_rcnn_voc_alternating"}  # tests/commands/test_stages.py
FITTED_RECIPES = {f"bccd_{family}" for family in FITTED if family != "rcnn_vgg"}
EVERY = {path.stem for path in (CONF / "experiment").glob("*.yaml")}
RECIPES = sorted(EVERY - STAGED - FITTED_RECIPES)
WINDOWS = {"bccd_fast_rcnn", "fast_rcnn_voc"}  # which look at a file of proposals
PUBLISHED = [name for name in RECIPES if name.endswith(("_voc", "_coco"))]
ALIKE = {
    # The schedule and the pictures of fcos_coco, faster_rcnn_coco, cornernet_coco, ssd300_coco or
    # yolox_coco. The compositions are looked at below, losses of these families elsewhere.
    *("atss_coco", "foveabox_coco", "gfl_coco", "ota_coco", "paa_coco", "faster_rcnn_kl_coco"),
    *("cascade_rcnn_coco", "cornernet_squeeze_coco", "ssd512_coco", "yolox_tiny_coco"),
    *(r for r in PUBLISHED if r.replace("_voc", "_coco") in set(PUBLISHED) - {r}),
}
BRIEFLY = [
    "size=small",
    "device=cpu",
    "data.batch_size=2",
    "data.num_workers=0",
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "+trainer.enable_checkpointing=false",
    *(f"~callback.{name}" for name in ("table", "pictures", "best", "last")),  # write files only
]
SIDE = {"ssd300": 300}  # its last convolutions leave nothing of a smaller picture


def takes_two_steps(cfg: DictConfig) -> None:
    thin(cfg)
    module, data, trainer = assemble(cfg)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 2
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert "val/AP" in trainer.callback_metrics


def thin(cfg: DictConfig) -> None:
    """Fewer channels, regions and candidates than are published, where size=small leaves them."""
    neck, postprocess = cfg.part.neck, cfg.part.postprocess
    if "per_level" in postprocess:
        postprocess.per_level = 100  # soft-NMS goes through them one by one
    if isinstance(neck.get("channels"), int):
        neck.channels = 64
    for one in (cfg.part.get(slot, {}) for slot in ("head", "two_stage", "localization")):
        for key in {"train_proposals", "test_proposals"} & set(one):
            if one[key] is not None:
                one[key].update({"per_level": 200, "detections": 100})
        for layers in (one.get("region_head", {}), one.get("branch", {})):
            made = layers.get("_target_", "")
            if "width" in layers or made.endswith(("TwoMLPHead", "IoUBranch")):
                with open_dict(layers):
                    layers.width = 32


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - set(PUBLISHED)))
def test_takes_two_steps(recipe: str, tmp_path: Path) -> None:
    words = [*BRIEFLY, "image_size=96", "warmup.length=0.5", f"run_dir={tmp_path}"]
    words += ["head=two_stage_windows"] if recipe in WINDOWS else []
    cfg = compose([f"experiment={recipe}", *words])
    if "$DETECTORS_DATA" in str(cfg.data) and "DETECTORS_DATA" not in os.environ:
        pytest.skip("DETECTORS_DATA is not set: this recipe trains on real images")
    takes_two_steps(cfg)


@pytest.mark.parametrize("recipe", sorted(FITTED_RECIPES))
@pytest.mark.parametrize("data", ["bccd", "scenes_easy"])
def test_a_fitted_model_can_be_made(recipe: str, data: str) -> None:
    """Its stages are run by tests/commands."""
    words = [f"experiment={recipe}", "device=cpu", "run_dir=."]
    words += [] if data == "bccd" else ["data=scenes_easy", "data.train.read.count=400"]
    assert isinstance(sketch(configured(words)), FittedDetector)


@pytest.mark.parametrize("words", [f"model=fcos {FCOS_ON_PAN}", f"model=retinanet {SSD_BOXES}"])
def test_a_cross_of_families_takes_two_steps(words: str, tmp_path: Path) -> None:
    scenes = ["image_size=96", "scenes.layout.side=96", "data.train.read.count=8"]
    cfg = compose([*words.split(), *BRIEFLY, *scenes, f"run_dir={tmp_path}"])
    takes_two_steps(cfg)


@pytest.mark.parametrize(
    "recipe", [pytest.param(r, marks=[pytest.mark.slow] * (r in ALIKE)) for r in PUBLISHED]
)
def test_a_published_recipe_takes_two_steps_on_scenes(recipe: str, tmp_path: Path) -> None:
    side = SIDE.get(recipe.split("_")[0], 64)
    words = ["trainer.accumulate_grad_batches=1", "trainer.max_steps=2", f"image_size={side}"]
    words += ["head=two_stage_windows"] if recipe in WINDOWS else []
    cfg = compose([f"experiment={recipe}", *BRIEFLY, *words, f"run_dir={tmp_path}"])
    settle(cfg)
    takes_two_steps(cfg)


def settle(cfg: DictConfig) -> None:
    """Other pictures, no weights from elsewhere, places within a run of 2 steps."""
    with open_dict(cfg):
        cfg.data.update({"train": None, "val": None})  # an update alone would merge
        cfg.data.update({**scenes(), "classes": None})
        if cfg.data.multiscale:
            cfg.data.multiscale.update({"sides": [64, 96], "every": 1})
        backbone = cfg.part.backbone
        if "pretrained" in backbone:
            backbone.pretrained = False
        if "resnet" in backbone.get("name", ""):
            backbone.name = "resnet18"
        if "milestones" in cfg.schedule:
            cfg.schedule.milestones = [0.5]
        if cfg.data.closing:
            cfg.data.closing.last, cfg.trainer.max_epochs = 1, 2
        cfg.warmup.length = min(cfg.warmup.length, 0.5)


@cache
def scenes() -> dict[str, Any]:
    """Readers of a few small pictures, and the number of their classes."""
    cfg = compose(["data=scenes_easy", "scenes.layout.side=64", "data.train.read.count=8"])
    data = OmegaConf.to_container(cfg, resolve=False)["data"]  # type: ignore[index, call-overload]
    assert isinstance(data, dict)
    OmegaConf.resolve(cfg.scenes)
    readers = OmegaConf.create({"scenes": cfg.scenes, "train": data["train"], "val": data["val"]})
    found = OmegaConf.to_container(readers, resolve=True)
    assert isinstance(found, dict)
    return {"train": found["train"], "val": found["val"], "num_classes": cfg.num_classes}


VOC, COCO = 16551, 118287  # pictures of 07+12 trainval and of train2017

PER_EPOCH = -(-(COCO // 2) // 8)  # steps of 16 pictures, in parts of 2
EPOCHS_1X = {  # mmdetection's 1x schedule: 12 epochs, less after 8 and 11 of them
    0: 1e-2 / 3,
    500: 1e-2,
    8 * PER_EPOCH - 1: 1e-2,
    8 * PER_EPOCH: 1e-3,
    11 * PER_EPOCH: 1e-4,
}

# The papers' numbers: effective batch, optimiser steps, and the learning rate of some steps.
NUMBERS: dict[str, tuple[int, int, dict[int, float]]] = {
    "yolov1_voc": (64, 40_000, {0: 1e-3, 700: 1e-2, 19_999: 1e-2, 20_000: 1e-3, 30_000: 1e-4}),
    "yolov2_voc": (64, 80_200, {500: 6.25e-5, 1000: 1e-3, 40_000: 1e-4, 60_000: 1e-5}),
    "yolov2_coco": (64, 500_200, {500: 6.25e-5, 399_999: 1e-3, 400_000: 1e-4, 450_000: 1e-5}),
    "yolov3_voc": (64, 50_200, {500: 6.25e-5, 39_999: 1e-3, 40_000: 1e-4, 45_000: 1e-5}),
    "yolov3_coco": (64, 500_200, {500: 6.25e-5, 399_999: 1e-3, 400_000: 1e-4, 450_000: 1e-5}),
    "yolov4_coco": (64, 500_500, {1000: 1.3e-3, 399_999: 1.3e-3, 400_000: 1.3e-4, 450_000: 1.3e-5}),
    "ssd300_voc": (32, 120_000, {0: 1e-3, 79_999: 1e-3, 80_000: 1e-4, 100_000: 1e-5}),
    "ssd512_voc": (32, 120_000, {0: 1e-3, 79_999: 1e-3, 80_000: 1e-4, 100_000: 1e-5}),
    "ssd300_coco": (32, 400_000, {0: 1e-3, 279_999: 1e-3, 280_000: 1e-4, 360_000: 1e-5}),
    "ssd512_coco": (32, 400_000, {0: 1e-3, 279_999: 1e-3, 280_000: 1e-4, 360_000: 1e-5}),
    "retinanet_coco": (16, 90_000, {0: 1e-2 / 3, 500: 1e-2, 60_000: 1e-3, 80_000: 1e-4}),
    "efficientdet_coco": (
        128,
        300 * (COCO // 128),
        {0: 0.016, COCO // 128: 0.16, 150 * (COCO // 128) + COCO // 256: 0.08},
    ),
    "retinanet_nas_fpn_coco": (
        64,
        50 * 1849,
        {0: 8e-3, 1000: 8e-2, 30 * 1849 - 1: 8e-2, 30 * 1849: 8e-3, 40 * 1849: 8e-4},
    ),
    "fcos_coco": (16, 90_000, {0: 1e-2 / 3, 499: 1e-2 / 3, 500: 1e-2, 60_000: 1e-3, 80_000: 1e-4}),
    "atss_coco": (16, 90_000, {0: 1e-2 / 3, 499: 1e-2 / 3, 500: 1e-2, 60_000: 1e-3, 80_000: 1e-4}),
    "ota_coco": (16, 90_000, {0: 1e-5, 1000: 1e-2, 60_000: 1e-3, 80_000: 1e-4}),
    "paa_coco": (16, 90_000, {0: 1e-2 / 3, 499: 1e-2 / 3, 500: 1e-2, 60_000: 1e-3, 80_000: 1e-4}),
    "foveabox_coco": (16, 12 * PER_EPOCH, {**EPOCHS_1X, 0: 1e-5}),
    "gfl_coco": (16, 12 * PER_EPOCH, EPOCHS_1X),
    "faster_rcnn_coco": (16, 90_000, {0: 2e-5, 1000: 2e-2, 60_000: 2e-3, 80_000: 2e-4}),
    "fast_rcnn_voc": (2, 40_000, {0: 1e-3, 29_999: 1e-3, 30_000: 1e-4}),
    "faster_rcnn_voc": (2, 70_000, {0: 1e-3, 49_999: 1e-3, 50_000: 1e-4}),
    "cascade_rcnn_coco": (16, 87_960, {0: 2e-5, 500: 2e-2, 58_640: 2e-3, 80_630: 2e-4}),
    "faster_rcnn_kl_coco": (16, 180_000, {0: 2e-2 / 3, 500: 2e-2, 120_000: 2e-3, 160_000: 2e-4}),
    "iou_net_coco": (16, 160_000, {0: 4e-3, 10_000: 1e-2, 120_000: 1e-3}),
    "centernet2_coco": (16, 90_000, {0: 5e-6, 4000: 2e-2, 60_000: 2e-3, 80_000: 2e-4}),
    "centernet_coco": (
        128,
        230 * (COCO // 128),
        {180 * (COCO // 128) - 1: 5e-4, 180 * (COCO // 128): 5e-5, 210 * (COCO // 128): 5e-6},
    ),
    "centernet_triplets_coco": (48, 480_000, {0: 2.5e-4, 449_999: 2.5e-4, 450_000: 2.5e-5}),
    "cornernet_squeeze_coco": (55, 500_000, {0: 2.5e-4, 449_999: 2.5e-4, 450_000: 2.5e-5}),
    "cornernet_coco": (49, 500_000, {0: 2.5e-4, 449_999: 2.5e-4, 450_000: 2.5e-5}),
    "centernet_voc": (
        32,
        70 * (VOC // 32),
        {45 * (VOC // 32) - 1: 1.25e-4, 45 * (VOC // 32): 1.25e-5, 60 * (VOC // 32): 1.25e-6},
    ),
    **dict.fromkeys(
        ("yolox_coco", "yolox_tiny_coco"),
        # Quadratic for 5 epochs of 1849 steps, the middle of the cosine, and 5 % from epoch 285 on.
        (64, 554_700, {4622: 2.5e-3, 9245: 1e-2, 268_105: 5.25e-3, 526_965: 5e-4, 554_699: 5e-4}),
    ),
}
DECAY = {
    "yolov": 5e-4,
    "yolox": 5e-4,
    "ssd": 5e-4,
    "retinanet": 1e-4,
    "fcos": 1e-4,
    "centernet_": 0.0,
    "cornernet": 0.0,
}
DECAY |= dict.fromkeys(("atss", "ota", "paa", "gfl", "fovea"), 1e-4)
DECAY |= dict.fromkeys(("iou_net", "centernet2", "cascade_rcnn", "faster_rcnn_kl"), 1e-4)
DECAY |= {
    "faster_rcnn_coco": 1e-4,
    "faster_rcnn_voc": 5e-4,
    "fast_rcnn_voc": 5e-4,
    "efficientdet": 4e-5,
}
CLIPPED = {"efficientdet_coco": 10.0}  # no other recipe clips the whole gradient
AVERAGED = ("efficientdet", "yolox")  # over as many steps


@cache
def composed(recipe: str) -> Any:
    return compose([f"experiment={recipe}", "device=cpu", "run_dir=."])


def test_every_published_recipe_is_listed() -> None:
    assert sorted(NUMBERS) == PUBLISHED


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_batch_and_length_are_those_of_the_paper(recipe: str) -> None:
    cfg, (batch, steps, _) = composed(recipe), NUMBERS[recipe]
    assert cfg.data.batch_size * cfg.trainer.accumulate_grad_batches == batch
    if cfg.trainer.max_steps != -1:
        assert (cfg.trainer.max_steps, cfg.trainer.max_epochs) == (steps, -1)
    else:
        pictures = VOC if recipe.endswith("_voc") else COCO
        batches = pictures // cfg.data.batch_size
        per_epoch = -(-batches // cfg.trainer.accumulate_grad_batches)
        assert cfg.trainer.max_epochs * per_epoch == steps
    by_norm = cfg.trainer.get("gradient_clip_algorithm") != "value"
    assert (cfg.trainer.gradient_clip_val if by_norm else None) == CLIPPED.get(recipe)
    averaged = cfg.callback.get("ema", {}).get("decay")
    assert averaged == (0.9998 if recipe.startswith(AVERAGED) else None)
    assert instantiate(cfg, "data").batch_size == cfg.data.batch_size


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_learning_rates_are_those_of_the_paper(recipe: str) -> None:
    cfg, (_, steps, expected) = composed(recipe), NUMBERS[recipe]
    network = torch.nn.ModuleDict(
        {"backbone": torch.nn.Identity(), "rest": torch.nn.Conv2d(1, 1, 1)}
    )
    optimizer = instantiate(cfg, "optimizer")(network)
    factor = instantiate(cfg, "learning_rate")(optimizer, steps).lr_lambdas[0]
    for step, rate in expected.items():
        assert cfg.optimizer.lr * factor(step) == pytest.approx(rate, rel=1e-3), step
    groups = {group["name"]: group for group in optimizer.param_groups}
    decay = next(value for start, value in DECAY.items() if recipe.startswith(start))
    assert groups.pop("rest/decayed")["weight_decay"] == decay
    assert all(group["weight_decay"] == 0 for group in groups.values())


def test_choices_of_a_recipe_win_over_those_of_its_family() -> None:
    ssd, yolo, retina = map(composed, ("ssd300_voc", "yolov4_coco", "retinanet_coco"))
    assert ssd.part.priors.sizes[0] == [30, 60]
    assert all(part.use_difficult for part in ssd.data.train.read.values())
    assert ssd.data.val._target_.endswith("read_voc")
    assert ssd.data.val.root.endswith("VOC2007")
    assert yolo.part.box_loss._target_.endswith("DarknetCIoU")
    assert list(yolo.data.mix) == ["mosaic"]
    assert max(yolo.data.multiscale.sides) == 896
    assert retina.part.neck.extra._target_.endswith("LevelsFromInput")
    assert retina.data.resize._target_.endswith("ShorterEdge")
    assert composed("yolov3_voc").data.num_classes == 20
    assert not any(part.use_difficult for part in composed("yolov2_voc").data.train.read.values())
