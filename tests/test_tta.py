"""Test-time augmentation equals a naive loop, in pixels of the given canvas."""

import pytest
import torch
from torch import Tensor, nn

import detectors
from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.detector import Detector
from detectors.priors import Points
from detectors.structures import Candidates, Detections, FeatureSpec
from detectors.tta import FlipAverage, MultiScaleTTA

SIDE, STRIDE = 64, 4
FRAMES = torch.tensor([[0.0, 0.0, SIDE, SIDE]])


@pytest.fixture(scope="module")
def centernet() -> Detector:
    """A small one whose maps vary from place to place."""
    torch.manual_seed(0)
    built = detectors.build("centernet", ["size=small"], num_classes=3).eval()
    for branch in (built.head.tower.logits, built.head.tower.offsets, built.head.tower.sizes):
        for layer in (branch[0], branch[2]):
            nn.init.kaiming_normal_(layer.weight)
    with torch.no_grad():
        noise = torch.randn(1, 3, SIDE, SIDE)
        scale = built.neck(built.backbone(noise))[0].std()
    for branch in (built.head.tower.logits, built.head.tower.offsets, built.head.tower.sizes):
        branch[0].weight.data /= scale  # what leaves a fresh neck is next to nothing
    return built


def _maps(detector: Detector, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Heat map, sizes and offsets, [1, k, H, W]."""
    features = detector.neck(detector.backbone((images.float() - detector.mean) / detector.std))
    ((logits, deltas, _),) = detector.head.tower(features)
    return logits.sigmoid(), deltas[:, 2:], deltas[:, :2]


@torch.no_grad()
def test_flip_averages_maps_and_sizes_and_keeps_offsets(centernet: Detector) -> None:
    images = torch.randint(0, 256, (1, 3, SIDE, SIDE), dtype=torch.uint8)
    heat, size, offset = _maps(centernet, images)
    other_heat, other_size, _ = _maps(centernet, images.flip(-1))
    heat, size = (
        (heat + other_heat.flip(-1)) / 2,
        (size.clamp(min=0) + other_size.flip(-1).clamp(min=0)) / 2,
    )
    peaks = heat == nn.functional.max_pool2d(heat, 3, 1, 1)
    found = FlipAverage(centernet)(images, FRAMES)
    count = min(int(peaks.sum()), 100)
    scores, index = (heat * peaks).flatten().topk(count)
    assert count >= 10
    assert int(found.valid.sum()) == count
    torch.testing.assert_close(found.scores[0, :count], scores)
    cells = SIDE // STRIDE
    for rank, place in enumerate(index.tolist()):
        label, row, column = place // cells**2, place % cells**2 // cells, place % cells
        x, y = offset[0, :, row, column].tolist()
        w, h = size[0, :, row, column].tolist()
        box = [column + x - w / 2, row + y - h / 2, column + x + w / 2, row + y + h / 2]
        expected = (torch.tensor(box) * STRIDE).clamp(0, SIDE)
        torch.testing.assert_close(found.boxes[0, rank], expected, atol=1e-3, rtol=0)
        assert found.labels[0, rank] == label


class Brightness(nn.Module):
    """Stands for a detector without a side that it prefers: every cell scores its mean."""

    def __init__(self, postprocess: nn.Module) -> None:
        super().__init__()
        self.postprocess = postprocess

    def candidates(self, images: Tensor, frames: Tensor) -> Candidates:
        scores = nn.functional.avg_pool2d(images[:, :1].float() / 255, STRIDE)
        priors = Points(1)([scores], [FeatureSpec(1, STRIDE)])
        return Candidates(priors.boxes, scores.flatten(2).transpose(1, 2), priors)


def test_a_symmetric_picture_gives_the_plain_result(centernet: Detector) -> None:
    half = 255 * torch.randint(0, 2, (1, 3, 32, SIDE // 2), dtype=torch.uint8)  # sums exactly
    images = torch.cat([half, half.flip(-1)], dim=-1)
    frames = torch.tensor([[0.0, 0.0, SIDE, 32.0]])
    plain = Brightness(centernet.postprocess)
    expected = plain.postprocess(plain.candidates(images, frames), frames)
    for found, wanted in zip(FlipAverage(plain)(images, frames), expected, strict=True):
        torch.testing.assert_close(found, wanted)


class Box(nn.Module):
    """Stands for a detector: finds the bright part of each picture."""

    def forward(self, images: Tensor, frames: Tensor) -> Detections:
        bright = images[:, 0].float() > 127
        boxes = []
        for image in bright:
            rows, columns = image.nonzero().unbind(1)
            corners = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            boxes.append(torch.stack(corners).float())
        count = (len(images), 1)
        labels = torch.zeros(count, dtype=torch.int64)
        return Detections(torch.stack(boxes)[:, None], torch.ones(count), labels, labels == 0)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("scale", [0.5, 1.0, 1.5])
def test_boxes_come_back_to_the_canvas(scale: float, flip: bool) -> None:
    images = torch.zeros(1, 3, 64, 128, dtype=torch.uint8)
    images[..., 16:32, 16:48] = 255
    frames = torch.tensor([[0.0, 0.0, 128.0, 64.0]])
    asked = MultiScaleTTA(Box(), [scale], [flip], 0.5, 32, 10)
    found = asked(images, frames)
    expected = torch.tensor([[[16.0, 16.0, 48.0, 32.0]]])
    torch.testing.assert_close(found.boxes, expected, atol=1.0, rtol=0)


@pytest.mark.parametrize("choice", ["flip", "flip_merged", "scales", "flip_scales"])
def test_every_choice_of_the_command_detects(centernet: Detector, choice: str) -> None:
    cfg = compose([f"tta={choice}", "ckpt_path=none", "run_dir=none"], "evaluate")
    images = torch.randint(0, 256, (1, 3, SIDE, SIDE), dtype=torch.uint8)
    found = instantiate(cfg, "tta", detector=centernet)(images, FRAMES)
    assert found.valid.any()
    assert (found.boxes[found.valid] >= 0).all()
    assert (found.boxes[found.valid] <= SIDE).all()


def test_averaging_of_several_levels_is_refused() -> None:
    fcos = detectors.build("fcos", ["size=small"], num_classes=3).eval()
    images = torch.zeros(1, 3, 128, 128, dtype=torch.uint8)
    with pytest.raises(ValueError, match="needs one level and one prior a cell"):
        FlipAverage(fcos)(images, FRAMES)


def test_a_picture_at_its_own_size_is_not_rounded() -> None:
    asked = MultiScaleTTA(Box(), [0.5, 1.0], [False], 0.5, 32, 10)
    assert asked.canvases((300, 300)) == {(160, 160), (300, 300)}
    images = torch.zeros(1, 3, 60, 100, dtype=torch.uint8)
    images[..., 16:32, 16:48] = 255
    once = MultiScaleTTA(Box(), [1.0], [False], 0.5, 32, 10)
    found = once(images, torch.tensor([[0.0, 0.0, 100.0, 60.0]]))
    assert found.boxes.tolist() == [[[16.0, 16.0, 48.0, 32.0]]]
