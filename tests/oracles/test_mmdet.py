"""Heads of families that mmdetection has lose and detect as there, from the same weights.

Skipped where its Python parts are missing; tests/oracles/mmdet_heads.py says how to get them.
"""

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.detector import Detector
from detectors.structures import Targets
from tests.examples import random_targets
from tests.oracles import mmdet_heads

pytestmark = pytest.mark.skipif(
    find_spec("mmdet") is None, reason="mmdet is not installed: see tests/oracles/mmdet_heads.py"
)
CLASSES, CHANNELS, CANVAS = 3, 32, (128, 192)
FRAMES = torch.tensor([0.0, 0.0, CANVAS[1], CANVAS[0]]).repeat(2, 1)
WORDS = [
    "size=small",
    f"part.neck.channels={CHANNELS}",
    "part.postprocess.per_level=10000",  # theirs takes the best of each level before multiplying
]
TERMS = {  # names of theirs by ours
    "gfl": {"class": "loss_cls", "box": "loss_bbox", "distribution": "loss_dfl"},
    "atss": {"class": "loss_cls", "box": "loss_bbox", "quality": "loss_centerness"},
    "foveabox": {"class": "loss_cls", "box": "loss_bbox"},
}
IN_CORNERS = "part.priors.offset=0"
NO_BIAS = "+part.tower.bias=false"  # of convolutions before a norm, unlike in the releases
MORE = {"gfl": [IN_CORNERS], "atss": [IN_CORNERS, NO_BIAS]}
SHORT = {"foveabox"}  # families whose boxes they cut a pixel before the border
ROOTS = {"atss"}  # families whose scores are roots of theirs


@pytest.fixture(scope="module", autouse=True)
def _importable() -> None:
    mmdet_heads.without_ops()


def example() -> tuple[list[Tensor], Targets]:
    """Features of two images and objects in both, none of which is to be ignored."""
    sizes = [(-(-CANVAS[0] // stride), -(-CANVAS[1] // stride)) for stride in mmdet_heads.STRIDES]
    features = [torch.randn(2, CHANNELS, *size) for size in sizes]
    targets = random_targets(2, 6, CLASSES, canvas=float(min(CANVAS)))
    return features, targets._replace(ignore=torch.zeros_like(targets.ignore))


def spread(head: nn.Module) -> nn.Module:
    """With last layers that make scores and boxes vary."""
    tower = head.tower
    for conv, gain in ((tower.logits, 0.1), (tower.deltas, 0.1), (tower.quality, 0.1)):
        if conv is not None:
            nn.init.normal_(conv.weight, std=gain)
            nn.init.normal_(conv.bias, mean=-1.0, std=0.5)
    if tower.scales is not None:
        nn.init.uniform_(tower.scales, 0.5, 1.5)
    return head


def pair(family: str) -> tuple[Detector, mmdet_heads.Theirs]:
    """Ours and theirs with the same weights."""
    ours = detectors.build(family, [*WORDS, *MORE.get(family, [])], num_classes=CLASSES)
    spread(ours.head)
    theirs = getattr(mmdet_heads, family)(CLASSES, CHANNELS)
    return ours, mmdet_heads.copied(theirs, ours.head.tower)


@pytest.mark.parametrize("family", TERMS)
@pytest.mark.parametrize("seed", range(3))
def test_losses(family: str, seed: int) -> None:
    torch.manual_seed(seed)
    ours, theirs = pair(family)
    features, targets = example()
    expected = theirs.loss(theirs.head(features), targets, CANVAS)
    for name, term in ours.head.loss(ours.head(features, FRAMES), targets).items():
        torch.testing.assert_close(term, expected[TERMS[family][name]], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", TERMS)
def test_candidates_before_the_suppression(family: str) -> None:
    ours, theirs = pair(family)
    features, _ = example()
    maps = theirs.head(features)
    found = ours.postprocess.rank(ours.head.detect(ours.head(features, FRAMES)), FRAMES)
    for image in range(2):
        short = family in SHORT
        expected = theirs.candidates(maps, image, (CANVAS[0] + short, CANVAS[1] + short))
        kept = found.valid[image]
        assert 10 < kept.sum() == len(expected.scores)
        scores = expected.scores.sqrt() if family in ROOTS else expected.scores
        ranks = scores.sort(descending=True).values
        torch.testing.assert_close(found.scores[image, kept], ranks)
        # Scores that rounding alone tells apart may come in another order.
        boxes, labels = found.boxes[image, kept], found.labels[image, kept]
        alike = torch.cdist(boxes, expected.bboxes, p=torch.inf) < 0.02
        alike &= labels[:, None] == expected.labels
        alike &= (found.scores[image, kept, None] - scores).abs() < 1e-5
        assert alike.any(0).all()
        assert alike.any(1).all()
