"""Heads of mmdetection 3.3 with the weights of ours; Python parts of it that need no compiled ones.

It is no dependency: `pip install mmdet==3.3.0 mmcv-lite==2.1.0 scikit-learn`, anywhere on the path.
"""

import sys
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, NamedTuple

from torch import Tensor, nn

from detectors.structures import Targets

STRIDES = [8, 16, 32, 64, 128]
TEST = {"nms_pre": 10_000, "score_thr": 0.05, "min_bbox_size": -1, "max_per_img": 100}


class _Absent(ModuleType):
    """A module of compiled operators that are not there: names of classes that nobody makes."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class _AbsentOps(MetaPathFinder, Loader):
    """mmdet imports all of `mmcv.ops`, which mmcv-lite lacks."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name == "mmcv.ops" or name.startswith("mmcv.ops."):
            return ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Absent(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def without_ops() -> None:
    """Let mmdet be imported where its compiled operators are missing."""
    sys.meta_path.insert(0, _AbsentOps())


class Theirs(NamedTuple):
    """A head of theirs and the names of its last convolutions, by ours."""

    head: nn.Module
    last: dict[str, str]

    def loss(self, maps: tuple, targets: Targets, canvas: tuple[int, int]) -> dict[str, Tensor]:
        """Their terms, summed over levels."""
        found = self.head.loss_by_feat(*maps, instances(targets), metas(targets, canvas))
        return {name: sum(term) if isinstance(term, list) else term for name, term in found.items()}

    def candidates(self, maps: tuple, image: int, canvas: tuple[int, int]) -> Any:
        """Boxes, scores and labels of one image before the suppression."""
        meta = {"img_shape": canvas, "scale_factor": (1.0, 1.0)}
        one = [[level[image : image + 1].detach() for level in kind] for kind in maps]
        return self.head.predict_by_feat(*one, batch_img_metas=[meta], with_nms=False)[0]


def instances(targets: Targets) -> list[Any]:
    """Objects as they take them."""
    from mmengine.structures import InstanceData

    return [
        InstanceData(bboxes=boxes[valid], labels=labels[valid])
        for boxes, labels, valid in zip(*targets[:3], strict=True)
    ]


def metas(targets: Targets, canvas: tuple[int, int]) -> list[dict[str, Any]]:
    """What they are told of each image."""
    meta = {"img_shape": canvas, "pad_shape": canvas, "batch_input_shape": canvas}
    return [meta] * len(targets.boxes)


def anchors(stride_sides: int = 8) -> dict[str, Any]:
    """One square a cell, centred in its corner."""
    return {
        "type": "AnchorGenerator",
        "ratios": [1.0],
        "octave_base_scale": stride_sides,
        "scales_per_octave": 1,
        "strides": STRIDES,
    }


def gfl(classes: int, channels: int) -> Theirs:
    """configs/gfl/gfl_r50_fpn_1x_coco.py."""
    from mmdet.models.dense_heads import GFLHead
    from mmengine.config import ConfigDict

    head = GFLHead(
        num_classes=classes,
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=anchors(),
        loss_cls={"type": "QualityFocalLoss", "use_sigmoid": True, "beta": 2.0, "loss_weight": 1.0},
        loss_bbox={"type": "GIoULoss", "loss_weight": 2.0},
        train_cfg=ConfigDict(assigner=ATSS, allowed_border=-1, pos_weight=-1),
        test_cfg=ConfigDict(TEST),
    )
    return Theirs(head, {"logits": "gfl_cls", "deltas": "gfl_reg"})


def atss(classes: int, channels: int) -> Theirs:
    """configs/atss/atss_r50_fpn_1x_coco.py."""
    from mmdet.models.dense_heads import ATSSHead
    from mmengine.config import ConfigDict

    head = ATSSHead(
        num_classes=classes,
        in_channels=channels,
        feat_channels=channels,
        anchor_generator=anchors(),
        bbox_coder=CODER,
        loss_cls=FOCAL,
        loss_bbox={"type": "GIoULoss", "loss_weight": 2.0},
        loss_centerness={"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 1.0},
        train_cfg=ConfigDict(assigner=ATSS, allowed_border=-1, pos_weight=-1),
        test_cfg=ConfigDict(TEST),
    )
    return Theirs(head, {"logits": "atss_cls", "deltas": "atss_reg", "quality": "atss_centerness"})


def foveabox(classes: int, channels: int) -> Theirs:
    """configs/foveabox/fovea_r50_fpn_4xb4-1x_coco.py."""
    from mmdet.models.dense_heads import FoveaHead
    from mmengine.config import ConfigDict

    head = FoveaHead(
        num_classes=classes,
        in_channels=channels,
        feat_channels=channels,
        strides=STRIDES,
        base_edge_list=[16, 32, 64, 128, 256],
        scale_ranges=((1, 64), (32, 128), (64, 256), (128, 512), (256, 2048)),
        sigma=0.4,
        with_deform=False,
        loss_cls=FOCAL | {"gamma": 1.5, "alpha": 0.4},
        loss_bbox={"type": "SmoothL1Loss", "beta": 0.11, "loss_weight": 1.0},
        train_cfg=ConfigDict(),
        test_cfg=ConfigDict(TEST),
    )
    return Theirs(head, {"logits": "conv_cls", "deltas": "conv_reg"})


ATSS = {"type": "ATSSAssigner", "topk": 9}
FOCAL = {"type": "FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "loss_weight": 1.0}
CODER = {"type": "DeltaXYWHBBoxCoder", "target_stds": [0.1, 0.1, 0.2, 0.2]}


def copied(theirs: Theirs, tower: nn.Module) -> Theirs:
    """The same with the weights of a `SharedTower`."""
    theirs.head.load_state_dict(dict(_named(theirs, tower)), strict=False)
    return theirs


def _named(theirs: Theirs, tower: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Weights of ours by the names of theirs; every one of ours has a place."""
    places = {"class_stack": "cls_convs", "box_stack": "reg_convs"}
    known = theirs.head.state_dict()
    for name, value in tower.state_dict().items():
        part, *rest = name.split(".")
        if part == "scales":
            yield from ((f"scales.{n}.scale", scale) for n, scale in enumerate(value))
            continue
        if part in places:
            index, kind = divmod(int(rest[0]), _period(tower))
            place = f"{places[part]}.{index}.{'gn' if kind else 'conv'}"
        else:
            place = theirs.last[part]
        assert f"{place}.{rest[-1]}" in known, f"{name} has no place in theirs"
        yield f"{place}.{rest[-1]}", value


def _period(tower: nn.Module) -> int:
    """Layers of a stack for each convolution: itself, perhaps a norm, the activation."""
    stack = list(tower.class_stack)
    return len(stack) // sum(isinstance(layer, nn.Conv2d) for layer in stack)
