"""Tricks put blocks before and after any neck."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.layers.progress import tell
from detectors.structures import Targets
from tests.examples import START


@cache
def _built(family: str, *tricks: str) -> nn.Module:
    words = ["size=small", f"trick=[{','.join(tricks)}]", "image_size=[128,160]"]
    return detectors.build(family, words, num_classes=3)


def _losses(detector: nn.Module) -> dict[str, Tensor]:
    images, rows = torch.empty(2, 3, 128, 160), (2, 8)
    valid = torch.empty(2, *rows, dtype=torch.bool)
    boxes, labels = torch.empty(*rows, 4), torch.empty(rows, dtype=torch.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.compiler, "is_compiling", lambda: True)
        tell(detector, START)
        return detector.loss(images, Targets(boxes, labels, *valid))


@pytest.mark.parametrize(
    ("family", "tricks"),
    [
        ("yolov3", ["spp", "sam"]),
        ("yolov1", ["aspp", "se"]),
        ("retinanet", ["rfb", "cbam"]),
        ("fcos", ["asff", "se"]),
        ("faster_rcnn", ["bifpn", "sam"]),
        ("centernet", ["spp", "cbam"]),
        ("yolov3", ["fpn"]),
        pytest.param("yolov4", ["bifpn", "spp"], marks=pytest.mark.slow),
        pytest.param("ssd512", ["asff"], marks=pytest.mark.slow),
        pytest.param("retinanet", ["pan", "asff"], marks=pytest.mark.slow),
    ],
)
def test_two_tricks_fit_any_neck(family: str, tricks: list[str]) -> None:
    with torch.device("meta"):
        plain, detector = _built(family), _built(family, *tricks)
        assert all(term.shape == () for term in _losses(detector).values())
    assert [spec.stride for spec in detector.neck.specs] == [s.stride for s in plain.neck.specs]
    assert {name for name, _ in plain.named_parameters()} != {
        name for name, _ in detector.named_parameters()
    }


def test_blocks_stand_in_the_order_of_the_words() -> None:
    with torch.device("meta"):
        detector = _built("fcos", "cbam", "rfb", "se", "spp")
    assert list(detector.neck.stages) == ["rfb", "spp", "neck", "cbam", "se"]


def test_without_a_trick_the_neck_is_the_familys() -> None:
    with torch.device("meta"):
        assert type(_built("fcos").neck).__name__ == "FPN"


@pytest.mark.parametrize(
    ("family", "trick", "ends"),
    [
        ("yolov2", "bifpn", "priors are made for 1 feature levels.*delivers 2"),
        ("centernet", "asff", r"ASFF fuses two or more levels.*\[4\]"),
        ("yolov1", "bifpn", r"BiFPN fuses two or more levels.*\[64\]"),
    ],
)
def test_a_family_of_one_level_is_refused(family: str, trick: str, ends: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=ends):
        _built(family, trick)
