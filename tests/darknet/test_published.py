"""The cfg files of released YOLOs build what our families of these names are."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import detectors
from detectors.detector import Detector
from detectors.weights.darknet import file_layers, read_weights, write_weights
from tests.examples import random_targets
from tests.weights.cfg_network import MISH, layers

V3 = "10,13, 16,30, 33,23, 30,61, 62,45, 59,119, 116,90, 156,198, 373,326"
V4 = "12,16, 19,36, 40,28, 36,75, 76,55, 72,146, 142,110, 192,243, 459,401"
TINY = "10,14, 23,27, 37,58, 81,82, 135,169, 344,319"
V4_KEYS = (
    "iou_normalizer=0.07\niou_loss=ciou\nnms_kind=greedynms\nbeta_nms=0.6\ncls_normalizer=1.0\n"
)
REGION = (
    "[region]\nanchors=0.57273,0.677385, 1.87446,2.06253, 3.33843,5.47434, 7.88282,3.52778, "
    "9.77052,9.16828\nbias_match=1\nclasses=80\ncoords=4\nnum=5\nsoftmax=1\njitter=.3\nrescore=1\n"
    "object_scale=5\nnoobject_scale=1\nclass_scale=1\ncoord_scale=1\nabsolute=1\nthresh=.6\n"
)


def yolo(mask: str, anchors: str, keys: str) -> str:
    count = anchors.count(",") // 2 + 1
    return f"[yolo]\nmask={mask}\nanchors={anchors}\nclasses=80\nnum={count}\n{keys}"


def v4(scale: float) -> str:
    return f"{V4_KEYS}ignore_thresh=.7\niou_thresh=0.213\nmax_delta=5\nscale_x_y={scale}\n"


# Size, and the detection layers in the order of the file, of words in `tests.weights.cfg_network`.
RELEASED = {
    "yolov2": (416, [REGION]),
    "yolov3": (416, [yolo(m, V3, "ignore_thresh=.5\n") for m in ("6,7,8", "3,4,5", "0,1,2")]),
    "yolov3_tiny": (416, [yolo(m, TINY, "ignore_thresh=.7\n") for m in ("3,4,5", "0,1,2")]),
    "yolov4": (
        608,
        [yolo("0,1,2", V4, v4(1.2)), yolo("3,4,5", V4, v4(1.1)), yolo("6,7,8", V4, v4(1.05))],
    ),
    "yolov4_tiny": (
        416,
        [yolo(m, TINY, V4_KEYS + "ignore_thresh=.7\nscale_x_y=1.05\n") for m in ("3,4,5", "1,2,3")],
    ),
}


def text(name: str) -> str:
    """The cfg file of a released YOLO."""
    size, heads = RELEASED[name]
    found, heads = [f"[net]\nwidth={size}\nheight={size}\nchannels=3\n"], list(heads)
    for index, word in enumerate(layers(name)):
        act = "mish" if index < MISH.get(name, 0) else "leaky"
        found.append(heads.pop(0) if word == "yolo" else _section(word, act, bool(heads)))
        if word.startswith("y-") and name == "yolov2":
            break
    return "".join(found) + ("" if name != "yolov2" else heads[0])


def _section(word: str, act: str, more: bool) -> str:
    kind, rest = word[0], word[1:]
    if kind in "cy":
        shape, filters = rest.split("-") if kind == "c" else ("1", rest[1:])
        size, stride = (*shape.split("/"), "1")[:2]
        norm = "batch_normalize=1\n" if kind == "c" else ""
        act = act if kind == "c" else "linear"
        keys = f"filters={filters}\nsize={size}\nstride={stride}\npad=1\nactivation={act}\n"
        return f"[convolutional]\n{norm}{keys}"
    if kind == "m":
        size, stride = rest.split("/")
        return f"[maxpool]\nsize={size}\nstride={stride}\n"
    return {
        "r": f"[route]\nlayers={rest}\n",
        "g": f"[route]\nlayers={rest}\ngroups=2\ngroup_id=1\n",
        "s": f"[shortcut]\nfrom={rest}\nactivation=linear\n",
        "u": "[upsample]\nstride=2\n",
        "o": "[reorg]\nstride=2\n",
    }[kind]


def built(name: str, folder: Path, *words: str) -> tuple[Detector, Detector]:
    """That of the cfg file and that of the family."""
    file = folder / f"{name}.cfg"
    file.write_text(text(name))
    of_file = detectors.build("darknet", [f"part.cfg={file}", *words])
    return of_file, detectors.build(name, list(words), num_classes=80)


def said(part: Any) -> tuple[type, dict[str, Any]]:
    """What a part is made with."""
    own = {k: v for k, v in vars(part).items() if k[0] != "_" and k != "training"}
    return type(part), {k: _plain(v) for k, v in own.items()}


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize("name", RELEASED)
def test_layers_and_parts_are_those_of_the_family(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        of_file, family = built(name, tmp_path)
        sizes = [[layer.size for layer in file_layers(one)] for one in (of_file, family)]
    assert sizes[0] == sizes[1]
    heads = of_file.head, family.head
    for part in ("priors", "coder", "assigner", "score"):
        assert said(getattr(heads[0], part)) == said(getattr(heads[1], part)), part
    for term in ("class", "box"):
        first, second = (said(head.criterion.losses[term]) for head in heads)
        assert first == second, term
    kinds = [type(head.criterion.losses["quality"]) for head in heads]
    assert kinds[0] is kinds[1]
    suppressors = [one.postprocess.suppressor for one in (of_file, family)]
    assert type(suppressors[0]) is type(suppressors[1])


@pytest.mark.parametrize("name", ["yolov3_tiny", "yolov4_tiny"])
def test_losses_and_detections_are_those_of_the_family(name: str, tmp_path: Path) -> None:
    of_file, family = built(name, tmp_path, "image_size=96")
    for module in family.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.1)
    write_weights(family, tmp_path / "a.weights")
    read_weights(of_file, tmp_path / "a.weights")
    images = torch.randint(0, 256, (2, 3, 96, 96), dtype=torch.uint8)
    objects = random_targets(2, 8, 80, canvas=96.0)
    of_file.eval(), family.eval()
    first, second = (one.loss(images, objects) for one in (of_file, family))
    for term, cost in second.items():
        torch.testing.assert_close(first[term], cost, rtol=1e-5, atol=0)
    frames = torch.tensor([[0.0, 0.0, 96.0, 96.0]]).expand(2, 4)
    with torch.no_grad():
        pairs = zip(*(one.candidates(images, frames)[:2] for one in (of_file, family)), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
