"""Post-processing equals torchvision's steps written out, and peaks equal max-pooling."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from omegaconf import OmegaConf
from torch import Tensor, nn

from detectors.config.paths import CONF
from detectors.postprocess import Greedy, Peaks, Suppression, SuppressionByClass
from detectors.structures import Candidates, Detections, Priors
from tests.examples import points, random_boxes

CLASSES = 3
PRIORS = points([8, 16])
FRAMES = torch.tensor([[0.0, 0, 64, 64], [0.0, 0, 50, 41], [9.0, 5, 64, 60]])
WHOLE = torch.tensor([[0.0, 0, 100, 100]])
HERE, NEAR, FAR = (0, 0, 10, 10), (0, 0, 10, 9), (40, 40, 50, 50)


def candidates(batch: int = 3, per_class: bool = False) -> Candidates:
    """Boxes of all sizes, some outside; scores no two of which are equal."""
    count = PRIORS.boxes.shape[1]
    boxes = random_boxes(batch, count, CLASSES) if per_class else random_boxes(batch, count)
    order = torch.stack([torch.randperm(count * CLASSES) for _ in range(batch)])
    return Candidates(boxes, order.view(batch, count, CLASSES) / (count * CLASSES), PRIORS)


def of_image(
    boxes: Tensor, scores: Tensor, priors: Priors, frame: Tensor, part: Suppression
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels of one image by the steps of torchvision's detectors."""
    found, start = [], 0
    for level, size in enumerate(priors.level_sizes):
        flat = scores[start : start + size].flatten()
        (kept,) = torch.where(flat > part.score_threshold)
        best = kept[flat[kept].argsort(descending=True)[: part.per_level]]
        prior, label = start + best // CLASSES, best % CLASSES
        own = boxes[prior, label] if boxes.dim() == 3 else boxes[prior]
        found += zip(own, flat[best], label, torch.full_like(label, level), strict=True)
        start += size
    box, score, label, level_of = map(torch.stack, zip(*found, strict=True))
    box = box.maximum(frame[:2].repeat(2)).minimum(frame[2:].repeat(2))
    large = torchvision.ops.boxes.remove_small_boxes(box, part.smallest)
    box, score, label, level_of = box[large], score[large], label[large], level_of[large]
    groups = label if part.suppressor.within == "label" else level_of
    keep = torchvision.ops.batched_nms(box, score, groups, part.suppressor.threshold)
    keep = keep[: part.detections]
    return box[keep], score[keep], label[keep]


def rows(found: Detections, image: int) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes, scores and labels of one image without padding."""
    valid = found.valid[image]
    return found.boxes[image, valid], found.scores[image, valid], found.labels[image, valid]


def listed(found: Detections) -> list[tuple]:
    """(label, score, box) of the first image, best first."""
    boxes, scores, labels = rows(found, 0)
    return [
        (int(label), round(float(score), 3), tuple(map(int, box)))
        for label, score, box in zip(labels, scores, boxes, strict=True)
    ]


def few(boxes: list, scores: list[list[float]]) -> Candidates:
    """Candidates of one image, priors in a row; `scores` of each by class."""
    priors = points([8], height=8, width=8 * len(boxes))
    return Candidates(torch.tensor([boxes]).float(), torch.tensor([scores]), priors)


def simple(threshold: float = 0.0, smallest: float = 0.0) -> Suppression:
    return Suppression(Greedy(0.5), threshold, per_level=9, detections=9, smallest=smallest)


CASES = {
    "retinanet": (Suppression(Greedy(0.5), 0.05, per_level=40, detections=30), False),
    "regions": (Suppression(Greedy(0.5), 0.3, 400, 100, smallest=4.0), True),
    "proposals": (Suppression(Greedy(0.7, "level"), 0.0, 60, 1000, smallest=1e-3), False),
    "few": (Suppression(Greedy(0.9), 0.97, per_level=1000, detections=1000), False),
}


@pytest.mark.parametrize("name", CASES)
def test_detections_are_torchvisions_steps(name: str) -> None:
    part, per_class = CASES[name]
    given = candidates(per_class=per_class)
    found = part(given, FRAMES)
    for image, frame in enumerate(FRAMES):
        expected = of_image(given.boxes[image], given.scores[image], PRIORS, frame, part)
        assert len(expected[0]) > 0
        for ours, theirs in zip(rows(found, image), expected, strict=True):
            assert torch.equal(ours, theirs)


def test_worked_by_hand() -> None:
    """Of two of a class that meet the better stays; another class at the same place stays too."""
    given = few([HERE, NEAR, FAR], [[0.6, 0.5], [0.9, 0.2], [0.3, 0.8]])
    assert listed(simple(0.25)(given, WHOLE)) == [
        (0, 0.9, NEAR),
        (1, 0.8, FAR),
        (1, 0.5, HERE),
        (0, 0.3, FAR),
    ]


def test_a_score_of_just_the_threshold_is_too_low() -> None:
    given = few([HERE, FAR], [[0.5], [0.75]])
    assert listed(simple(0.5)(given, WHOLE)) == [(0, 0.75, FAR)]


def test_only_the_best_class_of_a_prior_counts_where_the_family_says_so() -> None:
    """Of three priors the second has two classes above the threshold, the third two alike."""
    boxes = [[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]]
    given = few(boxes, [[0.9, 0.1], [0.6, 0.7], [0.5, 0.5]])
    part = Suppression(Greedy(0.5), 0.3, per_level=9, detections=9, one_class=True)
    found = part(given, WHOLE)
    assert found.valid.sum() == 3
    assert found.labels[0, :3].tolist() == [0, 1, 0]
    assert simple(0.3)(given, WHOLE).valid.sum() == 5


def test_each_level_has_its_own_share() -> None:
    """The fine level's many good candidates do not crowd out the coarse one's."""
    given, size = candidates(1), PRIORS.level_sizes[0]
    given.scores[:, :size] += 1
    ranked = Suppression(Greedy(1.0), 0.0, per_level=5, detections=100).rank(given, WHOLE)
    assert (ranked.prior < size).sum() == 5
    assert (ranked.prior >= size).sum() == 5


def test_proposals_of_different_levels_do_not_remove_each_other() -> None:
    priors = points([8, 16], height=16, width=16)
    scores = torch.tensor([[[0.5], [0.6], [0.7], [0.4], [0.9]]])
    part = Suppression(Greedy(0.5, within="level"), 0.0, per_level=9, detections=9)
    found = part(Candidates(torch.tensor([[HERE] * 5]).float(), scores, priors), WHOLE)
    assert listed(found) == [(0, 0.9, HERE), (0, 0.7, HERE)]


def test_boxes_are_cut_to_the_picture_before_they_meet() -> None:
    """Two boxes that overlap by a third are the same once cut to the frame."""
    given = few([(-10, 0, 10, 10), (0, 0, 20, 10)], [[0.9], [0.8]])
    assert len(listed(simple()(given, torch.tensor([[-50.0, 0, 50, 50]])))) == 2
    assert listed(simple()(given, torch.tensor([[0.0, 0, 10, 10]]))) == [(0, 0.9, HERE)]


CUT = (0, 100, 60, 200), (0, 100, 100, 200)


@pytest.mark.parametrize(("clip_first", "kept"), [(True, CUT[:1]), (False, CUT)])
def test_whole_boxes_meet_where_the_family_says_so_and_are_then_cut(
    clip_first: bool, kept: tuple
) -> None:
    """IoU .233 of the whole boxes, .6 of the cut ones; darknet keeps both at .45."""
    given = few([(-200, 100, 60, 200), (-10, 100, 100, 200)], [[0.9], [0.8]])
    canvas = torch.tensor([[0.0, 0, 416, 416]])
    for part in (
        Suppression(Greedy(0.45), 0.0, 9, 9, clip_first=clip_first),
        SuppressionByClass(Greedy(0.45), 0.0, 9, 9, clip_first=clip_first),
    ):
        assert tuple(box for _, _, box in listed(part(given, canvas))) == kept


@pytest.mark.parametrize(
    ("families", "clip_first"),
    [
        (["yolov1", "yolov2", "yolov3", "yolov4", "centernet", "yolox_s"], False),
        (["ssd300", "retinanet", "faster_rcnn", "fcos"], True),
    ],
)
def test_each_family_cuts_as_its_release(families: list[str], clip_first: bool) -> None:
    for family in families:
        parts = OmegaConf.load(CONF / f"model/{family}.yaml").defaults
        (name,) = (part["override /postprocess"] for part in parts if "postprocess" in str(part))
        postprocess = OmegaConf.load(CONF / f"postprocess/{name}.yaml")
        assert postprocess.clip_first == clip_first, family


def test_boxes_with_a_side_too_small_are_dropped_after_cutting() -> None:
    given = few([(-9, 0, 3, 20), (30, 30, 34, 60), (95, 0, 120, 30)], [[0.9], [0.8], [0.7]])
    found = listed(simple(smallest=4.0)(given, WHOLE))
    assert found == [(0, 0.8, (30, 30, 34, 60)), (0, 0.7, (95, 0, 100, 30))]


PARTS = {
    "by label": Suppression(Greedy(0.5), 0.3, per_level=30, detections=20),
    "by level": Suppression(Greedy(0.7, within="level"), 0.0, per_level=30, detections=200),
    "peaks": Suppression(Peaks(), 0.0, per_level=100, detections=20),
}
all_parts = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS.keys())


@all_parts
def test_detections_are_as_promised(part: nn.Module) -> None:
    """Scores fall, rows that are not valid come last and score nothing, boxes lie in the frame."""
    given, sureness = candidates(), torch.tensor([1.0, 0.31, 0.0])[:, None, None]
    found = part(given._replace(scores=given.scores * sureness), FRAMES)
    assert (found.scores.diff(dim=1) <= 0).all()
    assert (found.valid.int().diff(dim=1) <= 0).all()
    assert (found.scores[~found.valid] == 0).all()
    assert (found.scores[found.valid] > 0).all()
    assert not found.valid[2].any()
    low, high = FRAMES[:, None, :2].repeat(1, 1, 2), FRAMES[:, None, 2:].repeat(1, 1, 2)
    assert ((found.boxes >= low) & (found.boxes <= high)).all()
    assert ((found.labels >= 0) & (found.labels < CLASSES)).all()


@all_parts
def test_several_images_equal_each_alone(part: nn.Module) -> None:
    given = candidates()
    together = part(given, FRAMES)
    for image in range(3):
        one = slice(image, image + 1)
        alone = part(Candidates(given.boxes[one], given.scores[one], PRIORS), FRAMES[one])
        for ours, expected in zip(alone, together, strict=True):
            assert torch.equal(ours, expected[one])


@pytest.mark.parametrize("name", ["by label", "peaks"])
def test_exported_as_one_graph(name: str) -> None:
    part, other = PARTS[name], candidates()
    exported = torch.export.export(part, (candidates(), FRAMES)).module()
    for ours, expected in zip(exported(other, FRAMES), part(other, FRAMES), strict=True):
        assert torch.equal(ours, expected)


def test_unknown_groups_are_refused() -> None:
    with pytest.raises(ValueError, match="'class', expected 'label' or 'level'"):
        Greedy(0.5, within="class")


def on_cells(heat: Tensor, offset: float = 0.5) -> Candidates:
    """Candidates of a heat map [B, C, H, W] on points of stride 4."""
    height, width = heat.shape[-2:]
    priors = points([4], height * 4, width * 4, offset)
    scores = heat.flatten(2).transpose(1, 2)
    return Candidates(priors.boxes.expand(len(heat), -1, -1), scores, priors)


@pytest.mark.parametrize("values", [4, 10**6])
@pytest.mark.parametrize("offset", [0.0, 0.5])
def test_peaks_are_those_of_max_pooling(values: int, offset: float) -> None:
    """With few values many neighbours are equal, and then both stay, as in CenterNet's `_nms`."""
    heat = torch.randint(1, values + 1, (3, 2, 7, 9)) / (values + 1)
    part = Suppression(Peaks(), 0.0, per_level=10**4, detections=10**4)
    found = part(on_cells(heat, offset), WHOLE.expand(3, 4))
    stayed = torch.zeros_like(heat, dtype=torch.bool)
    for image in range(3):
        boxes, scores, labels = rows(found, image)
        x, y = ((boxes[:, :2] + boxes[:, 2:]) / 8).long().unbind(-1)
        stayed[image, labels, y, x] = True
        assert torch.equal(heat[image, labels, y, x], scores)
    assert torch.equal(stayed, F.max_pool2d(heat, 3, stride=1, padding=1) == heat)
    assert found.valid.sum() == stayed.sum()


def test_peaks_among_the_best_candidates_only_are_the_best_peaks() -> None:
    """Whoever would beat a candidate ranks above it, so leaving out the rest changes nothing."""
    heat, frames = torch.rand(2, 2, 8, 8), WHOLE.expand(2, 4)
    whole = Suppression(Peaks(), 0.0, per_level=1000, detections=9)(on_cells(heat), frames)
    best = Suppression(Peaks(), 0.0, per_level=60, detections=9)(on_cells(heat), frames)
    for ours, expected in zip(best, whole, strict=True):
        assert torch.equal(ours, expected)


def test_peaks_of_different_levels_do_not_meet() -> None:
    """Cell (0, 0) is another place on each level."""
    priors = points([8, 16], height=16, width=16)
    scores = torch.tensor([[[0.5], [0.1], [0.1], [0.1], [0.9]]])
    part = Suppression(Peaks(), 0.2, per_level=9, detections=9)
    found = part(Candidates(priors.boxes, scores, priors), WHOLE)
    assert [score for _, score, _ in listed(found)] == [0.9, 0.5]


@pytest.mark.parametrize("per_level", [1, 7, 40, 1000])
def test_best_pairs_of_each_level_are_those_of_a_full_sort(per_level: int) -> None:
    sizes, classes = (30, 10), 5
    scores = torch.rand(2, sum(sizes), classes)
    low = torch.rand(2, sum(sizes), 2) * 20
    boxes = torch.cat([low, low + 5], dim=-1)
    priors = Priors(boxes[:1], torch.ones(sum(sizes)), sizes, (32, 32))
    postprocess = Suppression(Greedy(0.5), 0.0, per_level, 100)
    frames = torch.tensor([0.0, 0, 32, 32]).expand(2, 4)
    ranked = postprocess.rank(Candidates(boxes, scores, priors), frames)
    levels = scores.split(sizes, dim=1)
    best = [level.flatten(1).sort(1, descending=True).values[:, :per_level] for level in levels]
    assert torch.equal(ranked.scores, torch.cat(best, 1).sort(1, descending=True).values)
    image = torch.arange(2)[:, None]
    assert torch.equal(scores[image, ranked.prior, ranked.labels], ranked.scores)
    assert torch.equal(boxes[image, ranked.prior], ranked.boxes)


class Detecting(nn.Module):
    """A post-process as a module of tensors alone, which can be exported."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, boxes: Tensor, scores: Tensor, frames: Tensor) -> Detections:
        return self.part(Candidates(boxes, scores, PRIORS), frames)


@pytest.mark.parametrize(
    "part",
    [
        Suppression(Greedy(0.45), 0.1, 9, 9),
        SuppressionByClass(Greedy(0.45), 0.1, 9, 9),
    ],
    ids=lambda part: type(part).__name__,
)
def test_a_graph_is_for_any_number_of_images(part: nn.Module) -> None:
    def given(batch: int) -> tuple[Tensor, ...]:
        boxes, scores, *_ = candidates(batch)
        return boxes, scores, FRAMES[:1].expand(batch, 4).contiguous()

    free = {0: torch.export.Dim("batch")}
    shapes = dict.fromkeys(("boxes", "scores", "frames"), free)
    graph = torch.export.export(Detecting(part), given(2), dynamic_shapes=shapes).module()
    images = given(3)
    for found, expected in zip(graph(*images), Detecting(part)(*images), strict=True):
        assert torch.equal(found, expected)


def test_no_class_takes_the_place_of_another_where_each_has_its_own() -> None:
    """Five boxes apart of one class score more than two of another; two of each are wanted."""
    boxes = [(20.0 * k, 0, 20.0 * k + 10, 10) for k in range(7)]
    scores = [[0.9 - 0.01 * k, 0.0] for k in range(5)] + [[0.0, 0.2], [0.0, 0.3]]
    given, canvas = few(boxes, scores), torch.tensor([[0.0, 0, 416, 416]])
    found = SuppressionByClass(Greedy(0.3), 0.0, 9, None, of_class=2)(given, canvas)
    assert found.labels[found.valid].tolist() == [0, 0, 1, 1]
    torch.testing.assert_close(found.scores[found.valid], torch.tensor([0.9, 0.89, 0.3, 0.2]))
    every = SuppressionByClass(Greedy(0.3), 0.0, 9, None)(given, canvas)
    assert every.valid.sum() == 7
    three = SuppressionByClass(Greedy(0.3), 0.0, 9, 3, of_class=2)(given, canvas)
    assert three.labels[three.valid].tolist() == [0, 0, 1]
