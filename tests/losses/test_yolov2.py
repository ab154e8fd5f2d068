"""YOLOv2's loss is darknet's region layer, number by number."""

import math

import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.layers.progress import tell
from detectors.structures import Progress, Targets
from tests.examples import START

C, H, W, ANCHORS = 3, 3, 4, 5
HEIGHT, WIDTH = 32 * H, 32 * W
SHAPES = [(1.3, 1.7), (3.2, 4.0), (0.5, 0.6), (2.0, 1.0), (2.5, 2.4)]  # in cells
OBJECTS = torch.tensor(  # corners in pixels
    [
        [10.0, 20, 50, 60],
        [12.0, 22, 48, 58],  # in the same cell and of the same best shape
        [12.0, 32, 26, 48],  # in the same cell, of another shape
        [44.0, 44, 84, 84],  # its centre on the border of four cells: (64, 64)
        [0.0, 0, 128, 96],  # larger than every shape
        [100.0, 70, 101, 71],  # smaller than every shape
        [90.0, 10, 120, 42],  # to be ignored
        [90.0, 10, 120, 42],  # padding
    ]
)
IMAGES = [[0, 1, 2, 3, 4, 5, 6], [1, 6, 2, 0], [4, 3, 6, 5], []]


def _targets(rows: list[list[int]]) -> Targets:
    fields = [[], [], [], []]
    for image in rows:
        index = torch.tensor([*image, *[7] * (8 - len(image))])
        fields[0].append(OBJECTS[index])
        fields[1].append(index % C)
        fields[2].append(index < 7)
        fields[3].append(index == 6)
    return Targets(*(torch.stack(field) for field in fields))


def _ours(raw: Tensor, targets: Targets, seen: int) -> dict[str, Tensor]:
    words = [
        "size=small",
        "part.backbone.width=1",
        f"part.priors.shapes={[list(map(list, SHAPES))]}",
    ]
    head = detectors.build("yolov2", words, num_classes=C).head
    head.tower.levels = nn.ModuleList([nn.Identity()])
    tell(head, Progress(images_seen=seen, step=0, steps=1))
    return head.loss(head([raw], None), targets)


def _naive(raw: Tensor, targets: Targets, seen: int) -> tuple[dict[str, Tensor], Tensor]:
    """Terms, and darknet's delta of every output, from explicit loops (src/region_layer.c)."""
    out = raw.double().view(len(raw), ANCHORS, 5 + C, H, W)
    delta = torch.zeros_like(out)
    terms = {name: out.sum() * 0 for name in ("class", "box", "quality")}
    for b in range(len(out)):
        objects = _objects(targets, b)
        box_of, objectness_of, class_of = {}, {}, {}
        for j in range(H):
            for i in range(W):
                for n in range(ANCHORS):
                    key, t = (n, j, i), out[b, n, :, j, i]
                    overlaps = [_iou(_box(t, key), truth) for truth, _ in objects]
                    covered = max(overlaps, default=0.0) > 0.6
                    objectness_of[key] = (0.0 if covered else 1.0, 0.0)
                    if seen < 12800:
                        box_of[key] = (0.01, (0.5, 0.5, 0.0, 0.0))
        for truth, label in objects:
            x, y, w, h = truth
            i, j = int(x * W), int(y * H)
            n = _best_shape(w * W, h * H)
            key = (n, j, i)
            growth = (math.log(w * W / SHAPES[n][0]), math.log(h * H / SHAPES[n][1]))
            box_of[key] = (1.0, (x * W - i, y * H - j, *growth))
            objectness_of[key] = (5.0, _iou(_box(out[b, n, :, j, i], key), truth))
            class_of[key] = label  # the later object overwrites the earlier
        for (n, j, i), (weight, wanted) in box_of.items():
            t = out[b, n, :, j, i]
            for k in range(4):
                output = t[k].sigmoid() if k < 2 else t[k]
                error = wanted[k] - output
                slope = output * (1 - output) if k < 2 else torch.ones(())
                terms["box"] = terms["box"] + weight * error**2 / 2
                delta[b, n, k, j, i] = (weight * error * slope).detach()
        for (n, j, i), (weight, wanted) in objectness_of.items():
            output = out[b, n, 4, j, i].sigmoid()
            error = wanted - output
            terms["quality"] = terms["quality"] + weight * error**2 / 2
            delta[b, n, 4, j, i] = (weight * error * output * (1 - output)).detach()
        for (n, j, i), label in class_of.items():
            scores = out[b, n, 5:, j, i].softmax(0)
            terms["class"] = terms["class"] - scores[label].log()
            for c in range(C):
                delta[b, n, 5 + c, j, i] = float(c == label) - scores[c].detach()
    means = {name: term / len(out) for name, term in terms.items()}
    return means, delta.view(raw.shape) / len(out)


def _objects(targets: Targets, b: int) -> list[tuple[list[float], int]]:
    """(x, y, w, h) relative to the image, and class, of what is to be found."""
    found = []
    for m in range(targets.boxes.shape[1]):
        if targets.valid[b, m] and not targets.ignore[b, m]:
            x1, y1, x2, y2 = targets.boxes[b, m].tolist()
            center = [(x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT]
            side = [(x2 - x1) / WIDTH, (y2 - y1) / HEIGHT]
            found.append((center + side, int(targets.labels[b, m])))
    return found


def _box(t: Tensor, key: tuple[int, int, int]) -> list[float]:
    n, j, i = key
    x, y = t[:2].detach().sigmoid().tolist()
    w, h = t[2:4].detach().exp().tolist()
    return [(i + x) / W, (j + y) / H, w * SHAPES[n][0] / W, h * SHAPES[n][1] / H]


def _iou(a: list[float], b: list[float]) -> float:
    inside = 1.0
    for i in (0, 1):
        low = max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2)
        high = min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2)
        inside *= max(high - low, 0.0)
    return inside / (a[2] * a[3] + b[2] * b[3] - inside)


def _best_shape(w: float, h: float) -> int:
    best, best_iou = 0, 0.0
    for n, (width, height) in enumerate(SHAPES):
        iou = _iou([0, 0, width, height], [0, 0, w, h])
        if iou > best_iou:
            best, best_iou = n, iou
    return best


def _raw() -> Tensor:
    """Some predictions of the object that fills the image cover it by more than 0.6."""
    raw = torch.randn(len(IMAGES), ANCHORS, 5 + C, H, W)
    raw[:, :, 2:4] *= 0.3
    raw[0::2, 1, 2, 1, 1:3] = math.log(4 / SHAPES[1][0])
    raw[0::2, 1, 3, 1, 1:3] = math.log(3 / SHAPES[1][1])
    return raw.view(len(IMAGES), -1, H, W).requires_grad_()


@pytest.mark.parametrize("seen", [0, 12_799, 12_800])
def test_loss_and_gradient_are_darknets(seen: int) -> None:
    raw, targets = _raw(), _targets(IMAGES)
    expected, delta = _naive(raw, targets, seen)
    found = _ours(raw, targets, seen)
    assert found.keys() == expected.keys()
    for name, term in expected.items():
        torch.testing.assert_close(found[name].double(), term, rtol=1e-5, atol=0)
        of_ours, of_theirs = (
            torch.autograd.grad(loss, raw, retain_graph=True)[0] for loss in (found[name], term)
        )
        torch.testing.assert_close(of_ours, of_theirs, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(sum(found.values()), raw)
    torch.testing.assert_close(-gradient.double(), delta, rtol=1e-5, atol=1e-6)


def test_some_predictions_are_ignored_in_the_reference_case() -> None:
    """Else the test above would not look at the ignore rule."""
    _, delta = _naive(_raw(), _targets(IMAGES), seen=0)
    objectness = delta.view(len(IMAGES), ANCHORS, 5 + C, H, W)[:, :, 4]
    assert [int((image == 0).sum()) > 0 for image in objectness] == [True, False, True, False]


def test_prior_loss_of_the_first_images_by_hand() -> None:
    raw = torch.randn(1, ANCHORS * (5 + C), H, W)
    early, late = (_ours(raw, _targets([[]]), seen)["box"] for seen in (12_799, 12_800))
    numbers = raw.view(ANCHORS, 5 + C, H, W)[:, :4]
    centers = (numbers[:, :2].sigmoid() - 0.5).square().sum()
    torch.testing.assert_close(early, 0.01 * (centers + numbers[:, 2:].square().sum()) / 2)
    assert late == 0


def test_prior_loss_follows_the_clock_within_one_graph() -> None:
    words = ["size=small", "part.backbone.width=1", "image_size=128"]
    detector = detectors.build("yolov2", words, num_classes=C).eval()
    compiled = torch.compile(detector.loss, fullgraph=True, dynamic=False, backend="eager")
    images, targets = torch.rand(2, 3, 128, 128) * 255, _targets([[], []])
    tell(detector, START)
    early = compiled(images, targets)["box"]
    tell(detector, START._replace(images_seen=12_800))
    assert early > 0
    assert compiled(images, targets)["box"] == 0
