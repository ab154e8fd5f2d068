"""CenterNet2: any dense head proposes, and the scores of both stages are one."""

import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.detector import Detector
from detectors.heads import Pooler
from detectors.heads.poolers import RoIAlign, ScaledGradient
from detectors.heads.towers import BoxTower
from detectors.structures import FeatureSpec
from tests.examples import targets

WORDS = [
    "size=small",
    "part.neck.channels=16",
    "+part.two_stage.region_head.width=16",
    "part.tower.depth=1",
]
NORM = "part.tower.norm=null"
PROPOSERS = {
    "centernet2": [NORM],
    "retinanet": ["tower=shared", "priors=anchors", "coder=delta", "assigner=max_iou",
                  "class_loss=focal", "box_loss=l1", "score=class",
                  "loss_normalizer=positives_per_image"],
    "fcos": ["tower=shared_quality", "priors=points", "assigner=center_sampling",
             "class_loss=focal", "quality_loss=centerness", "score=root", NORM],
    "atss": ["tower=shared", "assigner=atss", "class_loss=focal", "score=class"],
}  # fmt: skip
IMAGES = torch.linspace(0, 255, 2 * 3 * 96 * 128).view(2, 3, 96, 128)
FRAMES = torch.tensor([[0.0, 0, 128, 96], [0.0, 0, 100, 96]])


def built(proposer: str, family: str = "centernet2_f", *words: str) -> Detector:
    detector = detectors.build(family, [*WORDS, *PROPOSERS[proposer], *words], num_classes=3)
    nn.init.normal_(detector.head.region_head.predictor.logits.weight, std=0.5)
    return detector.eval()


@pytest.mark.parametrize("proposer", PROPOSERS)
@pytest.mark.parametrize("family", ["centernet2_f", "centernet2"])
def test_any_dense_head_proposes_and_the_scores_are_one(proposer: str, family: str) -> None:
    detector = built(proposer, family)
    head = detector.head
    with torch.no_grad():
        features = detector.features(IMAGES)
        output = head(features, FRAMES)
        found = head.detect(output)
        proposed = head.test_proposals(head.proposal_head.detect(output.proposals), FRAMES)
    rows = output.proposed.shape[1]
    assert torch.equal(output.proposed, proposed.scores[:, :rows])
    for image in range(2):
        for row in range(0, rows, 7):
            looks = [look.predictions.logits[image, row].softmax(0)[1:] for look in output.looks]
            mean = sum(looks) / len(looks)
            expected = (mean * proposed.scores[image, row]).sqrt() * proposed.valid[image, row]
            torch.testing.assert_close(found.scores[image, row], expected)
    objects = targets([(1, 8, 8, 40, 60)], [])
    losses = detector.loss(IMAGES, objects, FRAMES)
    assert all(term.isfinite() for term in losses.values())


def test_without_a_joint_score_the_second_stage_scores_alone() -> None:
    detector = built("centernet2", "centernet2_f", "part.two_stage.joint_score=null")
    with torch.no_grad():
        output = detector.head(detector.features(IMAGES), FRAMES)
        found = detector.head.detect(output)
    expected = output.looks[0].predictions.logits.softmax(-1)[..., 1:]
    real = output.looks[0].regions.valid
    torch.testing.assert_close(found.scores[real], expected[real])


def test_a_trick_that_adds_a_loss_adds_it_to_the_proposals() -> None:
    head = built("centernet2", "centernet2", "trick=[closing_l1]").head
    assert list(head.proposal_head.criterion.losses) == ["class", "box", "l1"]
    for criterion in (head.criterion, *(stage.criterion for stage in head.later.values())):
        assert list(criterion.losses) == ["class", "box"]


def test_later_looks_keep_the_regions_of_the_first() -> None:
    detector = built("centernet2", "centernet2")
    objects = targets([(1, 8, 8, 40, 60)], [])
    output = detector.head(detector.features(IMAGES), FRAMES, objects)
    shapes = {look.regions.boxes.shape for look in output.looks}
    assert len(shapes) == 1
    assert all(torch.equal(look.regions.added, output.looks[0].regions.added)
               for look in output.looks)  # fmt: skip
    terms = {name.split("_")[0] for name in detector.head.loss(output, objects)}
    assert terms == {"proposal", "region", "second", "third"}


def test_the_tower_scales_each_level_and_begins_eight_strides_wide() -> None:
    tower = BoxTower([FeatureSpec(4, 8), FeatureSpec(4, 16)], 1, [1, 1], depth=1)
    features = [torch.randn(1, 4, 6, 8), torch.randn(1, 4, 3, 4)]
    with torch.no_grad():
        tower.scales.copy_(torch.tensor([1.0, 2.0]))
        maps = tower(features)
    for level, (feature, (logits, deltas, quality)) in enumerate(zip(features, maps, strict=True)):
        hidden = tower.stack(feature)
        torch.testing.assert_close(deltas, tower.deltas(hidden) * (level + 1))
        torch.testing.assert_close(logits, tower.logits(hidden))
        assert quality is None
        assert deltas.mean() == pytest.approx(8 * (level + 1), abs=0.5)
        assert logits.sigmoid().mean() == pytest.approx(0.01, rel=0.2)


def test_a_scaled_pooler_gives_the_same_and_a_share_of_the_gradient() -> None:
    specs, box = [FeatureSpec(3, 8)], torch.tensor([[[8.0, 8, 40, 30]]])

    def plain(given: list[FeatureSpec]) -> Pooler:
        return RoIAlign(given, [8], 2)

    feature: Tensor = torch.randn(1, 3, 8, 8, requires_grad=True)
    found = []
    for pooler in (plain(specs), ScaledGradient(specs, plain, factor=0.25)):
        pooled = pooler([feature], box)
        (slope,) = torch.autograd.grad(pooled.square().sum(), feature)
        found.append((pooled, slope))
    assert torch.equal(found[0][0], found[1][0])
    torch.testing.assert_close(found[0][1] / 4, found[1][1])
