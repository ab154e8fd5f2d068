"""YOLOv1's loss is darknet's detection layer, number by number."""

import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.structures import Predictions, Targets

C, H, W = 3, 3, 4
HEIGHT, WIDTH = 64 * H, 64 * W
OBJECTS = torch.tensor(  # corners in pixels
    [
        [10.0, 20, 50, 60],
        [12.0, 22, 44, 50],  # in the same cell as the one before
        [44.0, 100, 84, 156],  # its centre on two borders of cells: (64, 128)
        [0.0, 0, 256, 192],  # the whole image, centre on two borders
        [200.0, 150, 204, 153],  # tiny
        [230.0, 60, 290, 132],  # leaves the image
        [100.0, 30, 160, 90],  # to be ignored
        [100.0, 30, 160, 90],  # padding
    ]
)


def _targets(rows: list[list[int]]) -> Targets:
    """The objects of each image, in the order given, all rows padded to eight."""
    fields = [[], [], [], []]
    for image in rows:
        index = torch.tensor([*image, *[7] * (8 - len(image))])
        fields[0].append(OBJECTS[index])
        fields[1].append(index % C)
        fields[2].append(index < 7)
        fields[3].append(index == 6)
    return Targets(*(torch.stack(field) for field in fields))


class Given(nn.Module):
    """In the place of a layer."""

    def __init__(self, vector: Tensor) -> None:
        super().__init__()
        self.vector = vector

    def forward(self, features: Tensor) -> Tensor:
        return self.vector


def _ours(family: str, vector: Tensor, targets: Targets) -> dict[str, Tensor]:
    words = ["size=small", "part.backbone.width=1"]
    head = detectors.build(family, words, num_classes=C, image_size=[HEIGHT, WIDTH]).head
    head.tower.hidden, head.tower.output = nn.Identity(), Given(vector)
    predictions: Predictions = head([torch.empty(len(vector), 1, H, W)], None)
    return head.loss(predictions, targets)


def _naive(vector: Tensor, targets: Targets, boxes: int) -> tuple[dict[str, Tensor], Tensor]:
    """Terms, and darknet's delta of every output, from explicit loops (src/detection_layer.c)."""
    out, delta = vector.double(), torch.zeros_like(vector, dtype=torch.float64)
    terms = {name: out.sum() * 0 for name in ("class", "box", "quality")}
    for b in range(len(out)):
        for cell in range(H * W):
            places = [H * W * C + cell * boxes + j for j in range(boxes)]
            weights, wanted = [0.5] * boxes, [0.0] * boxes
            truth, label = _first_object(targets, b, cell)
            if truth is not None:
                for c in range(C):
                    error = float(c == label) - out[b, cell * C + c]
                    terms["class"] = terms["class"] + error**2 / 2
                    delta[b, cell * C + c] = error.detach()
                starts = [H * W * (C + boxes) + (cell * boxes + j) * 4 for j in range(boxes)]
                decoded = [_box(out[b, s : s + 4].detach(), cell) for s in starts]
                best = _responsible(decoded, truth)
                weights[best], wanted[best] = 1.0, _iou(decoded[best], truth)
                x, y, w, h = truth
                row, column = divmod(cell, W)
                for i, value in enumerate([x * W - column, y * H - row, w**0.5, h**0.5]):
                    error = value - out[b, starts[best] + i]
                    terms["box"] = terms["box"] + 5 * error**2 / 2
                    delta[b, starts[best] + i] = 5 * error.detach()
            for place, weight, value in zip(places, weights, wanted, strict=True):
                error = value - out[b, place]
                terms["quality"] = terms["quality"] + weight * error**2 / 2
                delta[b, place] = weight * error.detach()
    return {name: term / len(out) for name, term in terms.items()}, delta / len(out)


def _first_object(targets: Targets, b: int, cell: int) -> tuple[list[float] | None, int]:
    """(x, y, w, h) relative to the image, and the class, of the first object in a cell."""
    for m in range(targets.boxes.shape[1]):
        if not targets.valid[b, m] or targets.ignore[b, m]:
            continue
        x1, y1, x2, y2 = targets.boxes[b, m].tolist()
        x, y = (x1 + x2) / 2 / WIDTH, (y1 + y2) / 2 / HEIGHT
        if (min(int(y * H), H - 1), min(int(x * W), W - 1)) == divmod(cell, W):
            return [x, y, (x2 - x1) / WIDTH, (y2 - y1) / HEIGHT], int(targets.labels[b, m])
    return None, 0


def _box(numbers: Tensor, cell: int) -> list[float]:
    x, y, w, h = numbers.tolist()
    row, column = divmod(cell, W)
    return [(x + column) / W, (y + row) / H, w**2, h**2]


def _iou(a: list[float], b: list[float]) -> float:
    inside = 1.0
    for i in (0, 1):
        low = max(a[i] - a[i + 2] / 2, b[i] - b[i + 2] / 2)
        high = min(a[i] + a[i + 2] / 2, b[i] + b[i + 2] / 2)
        inside *= max(high - low, 0.0)
    return inside / (a[2] * a[3] + b[2] * b[3] - inside)


def _responsible(decoded: list[list[float]], truth: list[float]) -> int:
    best, best_iou, best_rmse = -1, 0.0, 20.0
    for j, box in enumerate(decoded):
        iou = _iou(box, truth)
        rmse = sum((p - t) ** 2 for p, t in zip(box, truth, strict=True)) ** 0.5
        if best_iou > 0 or iou > 0:
            if iou > best_iou:
                best, best_iou = j, iou
        elif rmse < best_rmse:
            best, best_rmse = j, rmse
    return best


IMAGES = [[0, 1, 2, 3, 4, 5, 6], [3, 2, 1, 0, 6], [4, 6, 5, 2], []]


@pytest.mark.parametrize(("family", "boxes"), [("yolov1", 2), ("yolov1_local", 3)])
@pytest.mark.parametrize("spread", [0.5, 0.02], ids=["boxes overlap", "boxes are dots"])
def test_loss_and_gradient_are_darknets(family: str, boxes: int, spread: float) -> None:
    vector = torch.randn(4, H * W * (C + 5 * boxes))
    vector[:, H * W * (C + boxes) :] *= spread
    vector.requires_grad_()
    targets = _targets(IMAGES)
    expected, delta = _naive(vector, targets, boxes)
    found = _ours(family, vector, targets)
    assert found.keys() == expected.keys()
    for name, term in expected.items():
        torch.testing.assert_close(found[name].double(), term, rtol=1e-5, atol=0)
        of_ours, of_theirs = (
            torch.autograd.grad(loss, vector, retain_graph=True)[0] for loss in (found[name], term)
        )
        torch.testing.assert_close(of_ours, of_theirs, rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(sum(found.values()), vector)
    torch.testing.assert_close(-gradient.double(), delta, rtol=1e-5, atol=1e-6)


def test_without_objects_every_confidence_is_drawn_to_zero_and_nothing_else() -> None:
    vector = torch.randn(2, H * W * (C + 10), requires_grad=True)
    found = _ours("yolov1", vector, _targets([[], [6]]))
    confidences = vector[:, H * W * C : H * W * (C + 2)]
    torch.testing.assert_close(found["quality"], 0.5 * confidences.square().sum() / 2 / 2)
    assert found["class"] == found["box"] == 0


def test_it_is_half_of_the_papers_equation() -> None:
    """By hand: one object, whose responsible box has its size and stands 0.1 cells off."""
    vector = torch.zeros(1, H * W * (C + 10))
    boxes = vector[:, H * W * (C + 2) :].view(1, H * W, 2, 4)
    boxes[0, 0, 0] = torch.tensor([30 / 64 + 0.1, 40 / 64, (40 / 256) ** 0.5, (40 / 192) ** 0.5])
    confidences = vector[:, H * W * C : H * W * (C + 2)].view(1, H * W, 2)
    confidences[0, 0] = torch.tensor([0.25, 0.5])
    vector[0, 0] = 0.7  # class 0 of the first cell
    found = _ours("yolov1", vector, _targets([[0]]))
    iou = (40 - 6.4) / (40 + 6.4)
    paper = {"class": 0.3**2, "box": 5 * 0.1**2, "quality": (iou - 0.25) ** 2 + 0.5 * 0.5**2}
    for name, value in paper.items():
        torch.testing.assert_close(found[name], torch.tensor(value / 2))
