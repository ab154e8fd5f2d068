"""With the same random weights our YOLOX is that of the releases.

Either package will do: `pixeltable-yolox` (in the extra `oracles`), a maintained fork, or `yolox`
0.3.0, which pins versions that Python 3.11 cannot have and is installed without its dependencies.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.detector import Detector
from detectors.layers.progress import tell
from detectors.structures import Progress, Targets
from tests.examples import targets

theirs = pytest.importorskip(
    "yolox.models", reason="no package yolox: pip install 'lightning-detectors[oracles]'"
)
CLASSES = 7
SCALES = {"nano": (0.33, 0.25), "tiny": (0.33, 0.375), "m": (0.67, 0.75), "darknet53": None}
NO_SHARED_RULE = "this version of yolox assigns by the older rule: pip install pixeltable-yolox"


def named(*names: str) -> Callable[..., nn.Module]:
    """What has one of these names; the fork writes them otherwise."""
    return next(getattr(theirs, name) for name in names if hasattr(theirs, name))


def network(variant: str) -> nn.ModuleDict:
    """Theirs, with random weights that detect something, in evaluation mode."""
    scale, depthwise = SCALES[variant], {"depthwise": True} if variant == "nano" else {}
    head = named("YOLOXHead", "YoloxHead")
    if scale is None:
        below = named("YOLOFPN", "YoloFpn")()
        above = head(CLASSES, 1.0, in_channels=[128, 256, 512], act="lrelu")
    else:
        below = named("YOLOPAFPN", "YoloPafpn")(*scale, **depthwise)
        above = head(CLASSES, scale[1], **depthwise)
    made = nn.ModuleDict({"backbone": below, "head": above})
    for part in made.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eps, part.momentum = 1e-3, 1.0  # running statistics are those of one batch
            nn.init.normal_(part.weight, 1.0, 0.1)
            nn.init.normal_(part.bias, 0.0, 0.1)
    for level, feature in enumerate(below(pixels(4).float())):
        stem = above.stems[level](feature)
        above.cls_convs[level](stem), above.reg_convs[level](stem)
    for name, std in (("cls_preds", 0.3), ("reg_preds", 0.02), ("obj_preds", 0.3)):
        for conv in getattr(above, name):
            nn.init.normal_(conv.weight, std=std / conv.in_channels**0.5)
    return made.eval()


def pixels(count: int) -> Tensor:
    return torch.randint(0, 256, (count, 3, 96, 128), dtype=torch.uint8)


class Pair(NamedTuple):
    theirs: Any
    ours: Detector
    images: Tensor


@pytest.fixture(scope="module", params=SCALES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Pair:
    torch.manual_seed(0)
    made, file = network(request.param), tmp_path_factory.mktemp("weights") / "theirs.pth"
    torch.save({"model": made.state_dict(), "start_epoch": 300}, file)
    words = ["trick=[closing_l1]"]
    ours = detectors.build(
        f"yolox_{request.param}", words, num_classes=CLASSES, weights=f"yolox:{file}"
    )
    return Pair(made.double(), ours.eval().double(), pixels(2))


def features(pair: Pair) -> list[Tensor]:
    """Of their network, which sees BGR."""
    return list(pair.theirs["backbone"](pair.images.flip(1).double()))


@torch.no_grad()
def test_outputs_are_theirs(pair: Pair) -> None:
    for found, expected in zip(pair.ours.features(pair.images), features(pair), strict=True):
        assert (found - expected).abs().max() < 1e-6  # in double precision on both sides
    output = pair.theirs["head"](features(pair))
    center, side, quality, scores = output.split([2, 2, 1, CLASSES], dim=-1)
    found = pair.ours.head(pair.ours.features(pair.images), torch.zeros(2, 4))
    assert scores.std() > 0.05  # they differ from place to place
    boxes = pair.ours.head.coder.decode(found.deltas, found.priors)
    expected = torch.cat([center - side / 2, center + side / 2], dim=-1)
    assert (boxes - expected).abs().max() < 1e-3
    assert (found.logits.sigmoid() - scores).abs().max() < 1e-4
    assert (found.quality.sigmoid() - quality.squeeze(-1)).abs().max() < 1e-4


OBJECTS = [
    targets(
        [(0, 8, 10, 50, 60), (3, 20, 22, 40, 44), (6, 100, 5, 127, 90), (2, 3, 70, 20, 95)],
        [(1, 60, 60, 70, 66), (1, 58, 58, 74, 70)],
    ),
    targets([(4, 30, 30, 90, 60)], []),
    targets([], []),
]


@pytest.mark.skipif(
    not hasattr(named("YOLOXHead", "YoloxHead"), "get_geometry_constraint"), reason=NO_SHARED_RULE
)
@pytest.mark.parametrize("objects", OBJECTS, ids=["several", "one", "none"])
def test_losses_are_theirs(pair: Pair, objects: Targets) -> None:
    head = copy.deepcopy(pair.theirs["head"]).float()
    head.use_l1, head.training = True, True  # its batch norms stay as they are
    side = objects.boxes[..., 2:] - objects.boxes[..., :2]
    rows = [objects.labels[..., None], objects.boxes[..., :2] + side / 2, side]
    labels = torch.cat(rows, dim=-1) * objects.valid[..., None]
    with torch.no_grad():
        levels = [feature.float() for feature in features(pair)]
        _, box, quality, classes, l1, _ = losses_of(head(levels, labels, pair.images))
        tell(pair.ours, Progress(images_seen=2, step=9, steps=10, epoch=9, epochs=10))
        found = pair.ours.loss(pair.images, objects, torch.zeros(2, 4))
    expected = {"box": box, "quality": quality, "class": classes, "l1": l1}
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        value = torch.as_tensor(value, dtype=torch.float32)
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4)


def losses_of(found: Any) -> tuple:
    """Total, box, objectness, classes, L1, and positives of each object."""
    if isinstance(found, tuple):
        return found
    names = ("total_loss", "iou_loss", "conf_loss", "cls_loss", "l1_loss", "num_fg")
    return tuple(found[name] for name in names)
