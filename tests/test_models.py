"""Every family of conf/model keeps its promises at its small size on tiny pictures."""

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.utils._pytree import tree_leaves

import detectors
from detectors.assigners.best_shape import BestShape
from detectors.assigners.responsible import Responsible
from detectors.assigners.sampled import Sampler
from detectors.detector import Detector
from detectors.heads.criterion import Criterion
from detectors.heads.grouping import CornerPairs
from detectors.heads.localization import Jitter
from detectors.layers.progress import tell
from detectors.losses import generalized_focal, quality
from detectors.postprocess import Suppression
from detectors.structures import Detections, Targets
from tests.examples import FAMILIES, SCALED, START, THIN, alike

HEAVY = {
    "cascade_rcnn_c4",
    "centernet_dla",
    "centernet_hourglass",
    "faster_rcnn_c4",
}  # minutes for their graphs
# Of the parts of others, with other numbers.
ALIKE = {"centernet2_f", "faster_rcnn_kl", "faster_rcnn_v2", "faster_rcnn_vgg", "retinanet_v2"}
ALIKE |= {"fast_rcnn", "ssd512", "yolov2_voc", "yolov3_spp", "retinanet_nas_fpn"}
ALIKE |= SCALED | {"efficientdet_d7x"}
ALIKE |= {"yolox_tiny", "yolox_m", "yolox_l", "yolox_x", "yolox_darknet53"}
# As centernet, cornernet, yolov1, yolov3, yolov4 and yolox_s from the features on, but for a layer
# of yolov1_local (tests/layers/test_local.py); small ones are tried in tests/test_conf.py.
SAME_HEADS = {"centernet_dcn", "cornernet_squeeze", "yolov1_local", "yolov3_tiny", "yolov4_tiny"}
SAME_HEADS |= {"yolox_nano"}
# Slow to trace; that their shapes depend on no values, tests/test_conf.py shows too.
TRACED_SLOWLY = {"atss", "cascade_rcnn", "centernet2", "foveabox_align", "gfl", "iou_net", "ota"}
TRACED_SLOWLY |= {"centernet_triplets", "cornernet", "efficientdet_d0", "foveabox", "paa"}
TRACED_SLOWLY |= {"sliding_window"}
HEIGHT, WIDTH, CLASSES = 96, 128, 3
ROWS = 8  # of padded targets


def families(slow: set[str]) -> list[Any]:
    return [pytest.param(f, marks=[pytest.mark.slow] * (f in slow)) for f in FAMILIES]


@pytest.fixture(scope="module", params=families(HEAVY | ALIKE | SAME_HEADS))
def detector(request: pytest.FixtureRequest) -> Detector:
    """A small one that detects something; whatever is drawn at random is taken whole instead."""
    torch.manual_seed(0)
    words = ["size=small", f"image_size=[{HEIGHT},{WIDTH}]", *THIN.get(request.param, [])]
    built = detectors.build(request.param, words, num_classes=CLASSES)
    for part in built.modules():
        if isinstance(part, Jitter):
            part.draw = alike  # type: ignore[method-assign]
        if isinstance(part, Sampler):
            part.count = part.most_positive = 10**6
        if isinstance(part, CornerPairs):
            part.distance = 100.0
        if isinstance(part, Suppression):
            part.score_threshold, part.per_level, part.detections = 0.0, 30, 20
    return lively(built)


def lively(detector: Detector) -> Detector:
    """The same with weights in the head that make scores and boxes vary from place to place."""
    for name, parameter in detector.named_parameters():
        if name.startswith("head.") and parameter.dim() > 1:
            nn.init.kaiming_normal_(parameter)
        elif name.startswith("head.") and name.endswith("bias"):
            nn.init.zeros_(parameter)
    return detector


@pytest.fixture(autouse=True)
def _fresh_graphs() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


class Case(NamedTuple):
    """What a detector's loss takes."""

    images: Tensor
    targets: Targets
    frames: Tensor

    def alone(self) -> "list[Case]":
        """Each image by itself."""
        images, frames = self.images.split(1), self.frames.split(1)
        targets = zip(*(field.split(1) for field in self.targets), strict=True)
        return [Case(*one) for one in zip(images, map(Targets._make, targets), frames, strict=True)]


def case(*counts: int, seed: int = 0) -> Case:
    """Blocks of colour with so many objects in each image; the padded rows hold nonsense."""
    draw = torch.Generator().manual_seed(seed)
    batch = len(counts)
    coarse = torch.randint(0, 256, (batch, 3, 6, 8), dtype=torch.uint8, generator=draw)
    images = coarse.repeat_interleave(16, 2).repeat_interleave(16, 3)
    limit = torch.tensor([WIDTH, HEIGHT])
    corner = torch.rand(batch, ROWS, 2, generator=draw) * 0.6 * limit
    side = (0.1 + 0.3 * torch.rand(batch, ROWS, 2, generator=draw)) * limit
    valid = torch.arange(ROWS) < torch.tensor(counts)[:, None]
    targets = Targets(
        boxes=torch.cat([corner, corner + side], dim=-1),
        labels=torch.randint(0, CLASSES, (batch, ROWS), generator=draw),
        valid=valid,
        ignore=torch.rand(batch, ROWS, generator=draw) < 0.1,
    )
    frames = torch.tensor([0.0, 0.0, WIDTH, HEIGHT]).repeat(batch, 1)
    return Case(images, targets, frames)


def same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Losses are equal up to the order of float32 sums."""
    assert found.keys() == expected.keys()
    for name, term in expected.items():
        torch.testing.assert_close(found[name], term, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("counts", [(5, 0), (0, 0)], ids=["one_empty", "all_empty"])
def test_losses_are_finite_scalars_that_teach_every_parameter(
    detector: Detector, counts: tuple[int, int]
) -> None:
    detector.train().zero_grad(set_to_none=True)
    tell(detector, START)
    losses = detector.loss(*case(*counts))
    assert all(term.shape == () and term.isfinite() for term in losses.values())
    torch.stack(list(losses.values())).sum().backward()
    for name, parameter in detector.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert parameter.grad.isfinite().all(), name


def test_padding_changes_nothing(detector: Detector) -> None:
    images, longer, frames = case(3, 3)
    tight = Targets(*(field[:, :3] for field in longer))
    detector.eval()
    same(detector.loss(images, longer, frames), detector.loss(images, tight, frames))


def test_order_of_objects_changes_nothing(detector: Detector) -> None:
    # Of two objects in one cell of a YOLO the order decides, as in darknet: there are few of them.
    by_cell = any(isinstance(part, BestShape | Responsible) for part in detector.modules())
    images, targets, frames = case(2, 1) if by_cell else case(ROWS, 4)
    order = torch.randperm(ROWS)
    shuffled = Targets(*(field[:, order] for field in targets))
    detector.eval()
    same(detector.loss(images, shuffled, frames), detector.loss(images, targets, frames))


def test_loss_of_two_is_what_each_gives_alone(
    detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (generalized_focal, quality):  # weights before they are divided by their mean
        monkeypatch.setattr(module, "over_mean", lambda weights, *_, **__: weights)
    pair = case(5, 2)
    detector.eval()
    stages = zip(*(criteria(detector, one) for one in (pair, *pair.alone())), strict=True)
    for (both, divisors), *alone in stages:
        for name, term in both.items():
            sums = [losses[name] * by[name] for losses, by in alone]  # before they were divided
            same({name: term}, {name: (torch.cat(sums) / divisors[name]).sum()})


def criteria(detector: Detector, given: Case) -> list[tuple[dict[str, Tensor], dict[str, Tensor]]]:
    """Loss terms of each stage, and what each image's were divided by, [B]."""
    found = []

    def keep(criterion: Criterion, arguments: tuple, losses: dict[str, Tensor]) -> None:
        matched = criterion.match(*arguments)
        found.append((losses, criterion.divisors(matched, torch.ones_like(matched.counted))))

    parts = [part for part in detector.modules() if isinstance(part, Criterion)]
    hooks = [part.register_forward_hook(keep) for part in parts]
    detector.loss(*given)
    for hook in hooks:
        hook.remove()
    return found


def test_detections_of_two_are_those_of_each_alone(detector: Detector) -> None:
    pair = case(0, 0)
    detector.eval()
    together = detector(pair.images, pair.frames)
    assert together.valid.any()
    for index, single in enumerate(pair.alone()):
        alone = detector(single.images, single.frames)
        alike = torch.cdist(together.boxes[index], alone.boxes[0], p=torch.inf) < 1e-2
        alike &= (together.scores[index, :, None] - alone.scores[0]).abs() < 1e-4
        alike &= together.labels[index, :, None] == alone.labels[0]
        kept, expected = together.valid[index], alone.valid[0]
        assert kept.sum() == expected.sum()
        assert alike[kept][:, expected].any(0).all()
        assert alike[kept][:, expected].any(1).all()


def test_a_head_tells_what_its_candidates_are(detector: Detector) -> None:
    images, _, frames = case(0, 0)
    found = detector.eval().candidates(images, frames)
    told = [name for name in ("deviations", "iou") if getattr(found, name) is not None]
    assert list(detector.head.tells) == told
    assert detector.head.ranks_candidates == (len(found.priors.boxes) == len(images))  # no grid


def test_detections_are_as_promised(detector: Detector) -> None:
    images, _, frames = case(0, 0)
    frames[1] = torch.tensor([20.0, 0.0, 110.0, 96.0])
    found = detector.eval()(images, frames)
    rows = found.scores.shape[1]
    assert found.boxes.shape == (2, rows, 4)
    assert found.scores.shape == found.labels.shape == found.valid.shape == (2, rows)
    assert (found.scores.dtype, found.labels.dtype) == (torch.float32, torch.int64)
    assert (found.scores.diff(dim=1) <= 0).all()
    assert ((found.scores > 0) == found.valid).all()
    assert (found.scores <= 1).all()
    assert ((found.labels >= 0) & (found.labels < CLASSES)).all()
    low, high = frames[:, None, :2], frames[:, None, 2:]
    for corner in (found.boxes[..., :2], found.boxes[..., 2:]):
        assert ((corner >= low) & (corner <= high)).all()
    assert (found.boxes[..., 2:] >= found.boxes[..., :2]).all()


@pytest.mark.parametrize(
    "detector", families(HEAVY | ALIKE | SAME_HEADS | TRACED_SLOWLY), indirect=True
)
def test_training_and_detecting_are_one_graph_for_all_object_counts(detector: Detector) -> None:
    """From the features on; that backbones and necks are one graph is tested beside them."""
    graphs = CompileCounter()
    compiled = torch.compile(both(detector.eval()), fullgraph=True, dynamic=False, backend=graphs)
    for counts in ((5, 0), (1, ROWS), (0, 0)):
        given = case(*counts, seed=sum(counts))
        losses, found = compiled(detector.features(given.images), given.targets, given.frames)
        same(losses, detector.loss(*given))
    assert graphs.frame_count == 1
    # A head that refines detections does so by gradients, after them and outside of the graph.
    expected = detector.postprocess(detector.candidates(given.images, given.frames), given.frames)
    rows = expected.valid.shape[1]  # fewer where padding among proposals was left out
    assert not found.valid[:, rows:].any()
    assert torch.equal(found.valid[:, :rows], expected.valid)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one[:, :rows][expected.valid], other[expected.valid])


def both(detector: Detector) -> Callable[..., tuple[dict[str, Tensor], Detections]]:
    """Losses and detections by features, which both have in common."""
    head = detector.head

    def losses_and_detections(
        features: list[Tensor], targets: Targets, frames: Tensor
    ) -> tuple[dict[str, Tensor], Detections]:
        losses = head.loss(head(features, frames, targets), targets)
        return losses, detector.postprocess(head.detect(head(features, frames)), frames)

    return losses_and_detections


def test_is_float32_behind_the_last_convolution(detector: Detector) -> None:
    """Under autocast too: all that a criterion and its loss terms see and give."""
    seen: list[object] = []

    def keep(part: nn.Module, arguments: tuple, result: object) -> None:
        seen.append((arguments, result))

    criteria = [part for part in detector.modules() if isinstance(part, Criterion)]
    parts = [*criteria, *(term for part in criteria for term in part.losses.values())]
    hooks = [part.register_forward_hook(keep) for part in parts]
    images, targets, frames = case(5)
    with torch.autocast("cpu", torch.bfloat16):
        features = detector.eval().features(images)
        losses, detections = both(detector)(features, targets, frames)
    for hook in hooks:
        hook.remove()
    tensors = [leaf for leaf in tree_leaves((seen, losses, detections)) if isinstance(leaf, Tensor)]
    assert len(seen) == len(parts)
    assert {leaf.dtype for leaf in tensors if leaf.is_floating_point()} == {torch.float32}


def test_weights_are_the_whole_state(detector: Detector) -> None:
    images, _, frames = case(0, 0)
    other = copy.deepcopy(detector)
    for parameter in other.parameters():
        nn.init.normal_(parameter)
    other.load_state_dict(detector.state_dict())
    for found, expected in zip(
        other.eval()(images, frames), detector.eval()(images, frames), strict=True
    ):
        assert torch.equal(found, expected)


def test_bytes_and_floats_are_the_same_picture(detector: Detector) -> None:
    images, targets, frames = case(5, 2)
    detector.eval()
    same(detector.loss(images.float(), targets, frames), detector.loss(images, targets, frames))
