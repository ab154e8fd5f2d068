"""Images are moved as the source says, and nothing but images is."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

import detectors
from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.data.module import DetectionData
from detectors.detector import Detector
from detectors.engine.build import initial_detector
from detectors.module import LitData, LitDetector
from detectors.structures import Batch, Progress, Targets
from detectors.tricks.adversarial import SelfAdversarial, empty_gradient

SIDE = 64
LATE = Progress(images_seen=1, step=3, steps=4)


def built(family: str, *words: str) -> Detector:
    torch.manual_seed(0)
    return detectors.build(family, ["size=small", f"image_size={SIDE}", *words], num_classes=3)


@pytest.fixture(scope="module")
def yolo() -> Detector:
    """Smooth; its statistics are those of a batch, so that the pixels matter."""
    detector = built("yolov3", "act=mish").train()
    for part in detector.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = 1.0
    with torch.no_grad():
        detector.candidates(new_batch(8).images, new_batch(8).frames)
    return detector


def new_batch(images: int = 2) -> Batch:
    draw = torch.Generator().manual_seed(1)
    pictures = torch.randint(0, 256, (images, 3, SIDE, SIDE), dtype=torch.uint8, generator=draw)
    boxes = torch.tensor([8.0, 8.0, 40.0, 48.0]).expand(images, 1, 4)
    yes = torch.ones(images, 1, dtype=torch.bool)
    targets = Targets(boxes, torch.zeros(images, 1).long(), yes, ~yes)
    frames = torch.tensor([0.0, 0.0, SIDE, SIDE]).expand(images, 4)
    return Batch(pictures, targets, frames, frames, torch.arange(images))


def empty_loss(detector: Detector, images: Tensor, batch: Batch) -> Tensor:
    nothing = batch.targets._replace(valid=torch.zeros_like(batch.targets.valid))
    with torch.no_grad():
        terms = detector.loss(images, nothing, batch.frames)
    return torch.stack(list(terms.values())).sum()


def test_the_step_is_that_of_finite_differences(yolo: Detector) -> None:
    batch, places = new_batch(1), [(0, 0, 5, 5), (0, 1, 20, 33), (0, 2, 47, 12)]
    images = batch.images.float()
    changed = SelfAdversarial(rate=0.001, probability=1.0)(batch, yolo, LATE, seed=0).images
    yolo.eval()
    for place in places:
        there = torch.zeros_like(images)
        there[place] = 0.25
        up, down = (float(empty_loss(yolo, images + s * there, batch)) for s in (1, -1))
        slope = (up - down) / 0.5 * 255  # in an image of 0..1
        moved = (float(images[place]) - float(changed[place])) / 255
        assert moved == pytest.approx(0.001 * 3 / 4 * slope, rel=0.05)
        assert abs(moved) > 1e-5
    yolo.train()


def test_a_changed_image_costs_less_as_an_empty_one(yolo: Detector) -> None:
    batch = new_batch()
    changed = SelfAdversarial(rate=1e-4, probability=1.0)(batch, yolo, LATE, seed=0).images
    with torch.no_grad():
        before, after = (empty_loss(yolo.eval(), i, batch) for i in (batch.images, changed))
    yolo.train()
    assert after < before
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_statistics_gradients_and_modes_stay(yolo: Detector) -> None:
    yolo.train()
    yolo.backbone.stem.norm.eval()  # as a frozen part has it
    modes = [part.training for part in yolo.modules()]
    before = {name: value.clone() for name, value in yolo.state_dict().items()}
    SelfAdversarial(probability=1.0)(new_batch(), yolo, LATE, seed=0)
    assert all(torch.equal(value, yolo.state_dict()[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in yolo.parameters())
    assert [part.training for part in yolo.modules()] == modes
    yolo.train()


@pytest.mark.parametrize("family", ["yolov3", "fcos", "retinanet", "centernet"])
def test_an_image_moves_alike_in_every_batch(family: str) -> None:
    detector, batch = built(family).eval(), new_batch(2)
    both = empty_gradient(detector, batch.images, batch.targets, batch.frames)
    half = Targets(*(field[:1] for field in batch.targets))
    alone = empty_gradient(detector, batch.images[:1], half, batch.frames[:1])
    torch.testing.assert_close(both[:1], alone, rtol=1e-3, atol=1e-3 * float(alone.abs().max()))


def test_half_of_the_steps_after_the_burn_in_and_always_the_same(yolo: Detector) -> None:
    batch, trick = new_batch(1), SelfAdversarial(burn_in=0.5)
    assert trick(batch, yolo, Progress(1, 4, 10), 1) is batch

    def changed() -> list[bool]:
        half = Progress(1, 5, 10)
        return [trick(batch, yolo, half, seed) is not batch for seed in range(12)]

    torch.manual_seed(1)
    first = changed()
    torch.manual_seed(2)
    assert changed() == first
    assert 2 <= sum(first) <= 10


def test_it_is_refused_where_an_empty_image_costs_nothing() -> None:
    trick = SelfAdversarial()
    trick.check(built("yolov3"), (SIDE, SIDE))
    with pytest.raises(ValueError, match=r"such an image costs nothing .* softmax"):
        trick.check(detectors.build("ssd300", ["size=small"], num_classes=3), (300, 300))
    with pytest.raises(ValueError, match="probability in"):
        SelfAdversarial(probability=2.0)


def fitted(folder: Path, *words: str, **settings: object) -> LitDetector:
    made = ["size=small", "image_size=64", "device=cpu", "data.batch_size=2"]
    quiet = ["data.num_workers=0", f"run_dir={folder}", "data=scenes_easy"]
    cfg = compose(["model=yolov3", *made, *quiet, "warmup.length=0", *words])
    tricks = instantiate(cfg, "batch_tricks")
    torch.manual_seed(0)
    module = LitDetector(
        initial_detector(cfg),
        instantiate(cfg, "optimizer"),
        instantiate(cfg, "learning_rate"),
        batch_tricks=tricks,
    )
    data: DetectionData = instantiate(cfg, "data")
    options = {"accumulate_grad_batches": 2, "max_epochs": 1, "limit_train_batches": 4}
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        **{**options, **settings},  # type: ignore[arg-type]
    )
    trainer.fit(module, datamodule=LitData(data))
    return module


def test_a_run_without_changes_is_the_plain_one_to_the_bit(tmp_path: Path) -> None:
    plain = fitted(tmp_path)
    words = ["trick=[sat]", "batch_tricks.sat.burn_in=1000"]
    never = fitted(tmp_path, *words)
    assert all(
        torch.equal(a, b) for a, b in zip(plain.parameters(), never.parameters(), strict=True)
    )


def test_a_run_with_autocast_and_accumulation_changes_images(tmp_path: Path) -> None:
    words = ["trick=[sat]", "batch_tricks.sat.probability=1.0", "batch_tricks.sat.rate=5"]
    plain = fitted(tmp_path, precision="bf16-mixed")
    moved = fitted(tmp_path, *words, precision="bf16-mixed")
    assert all(parameter.isfinite().all() for parameter in moved.parameters())
    pairs = zip(plain.parameters(), moved.parameters(), strict=True)
    assert not all(torch.equal(a, b) for a, b in pairs)
