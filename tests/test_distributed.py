"""Two processes with N images each take the step of one process with 2 N, in every family."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import detectors
from detectors.assigners.sampled import Sampler
from detectors.detector import Detector
from detectors.heads.localization import Jitter
from detectors.layers.progress import tell
from detectors.losses.mining import HardNegativeCrossEntropy
from detectors.postprocess import Suppression
from detectors.structures import Targets
from tests.examples import FAMILIES, START, THIN, alike
from tests.pairs import run_as_pair

FILES = set(FAMILIES)
PLAIN = {  # the others are of parts of these, or of their parts with other numbers
    *("yolov1", "yolov2", "yolov3", "yolov4", "ssd300", "retinanet", "faster_rcnn", "centernet"),
    *("fcos", "efficientdet_d0"),
}
GROUPS = {"plain": sorted(PLAIN), "variants": sorted(FILES - PLAIN)}
SIDE, CLASSES, ROWS = 96, 3, 8
LARGE_PRIORS = {"faster_rcnn_vgg", "ssd300", "ssd512"}  # those larger than a picture learn nothing
OBJECTS = torch.tensor([5, 1, 0, 0])  # of four images: the second process has none at all
HALVES = (slice(0, 2), slice(2, 4))  # images of each process
Gradients = dict[str, Tensor]


class Loss(nn.Module):
    """A detector whose forward is what is minimised, as DDP wants it."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor, targets: Targets) -> Tensor:
        return torch.stack(list(self.detector.loss(images, targets).values())).sum()


def new_loss(family: str) -> Loss:
    """With the same weights in every process; what is drawn or chosen from is taken whole."""
    torch.manual_seed(0)
    words = ["size=small", "norm=frozen", f"image_size={SIDE}", *THIN.get(family, [])]
    detector = detectors.build(family, words, num_classes=CLASSES)
    for part in detector.modules():
        if isinstance(part, Jitter):
            part.draw = alike  # type: ignore[method-assign]
        if isinstance(part, Sampler):
            part.count = part.most_positive = 10**6
        if isinstance(part, Suppression):
            part.per_level, part.detections = 30, 20
        if isinstance(part, nn.Dropout):
            part.p = 0.0
        if isinstance(part, HardNegativeCrossEntropy):
            part.ratio = 10**6
    tell(detector, START)
    return Loss(detector).train()


def images_and_targets(rows: slice) -> tuple[Tensor, Targets]:
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, SIDE, SIDE), dtype=torch.uint8, generator=draw)
    corner = torch.rand(4, ROWS, 2, generator=draw) * 0.6 * SIDE
    side = (0.1 + 0.3 * torch.rand(4, ROWS, 2, generator=draw)) * SIDE
    targets = Targets(
        boxes=torch.cat([corner, corner + side], dim=-1),
        labels=torch.randint(0, CLASSES, (4, ROWS), generator=draw),
        valid=torch.arange(ROWS) < OBJECTS[:, None],
        ignore=torch.zeros(4, ROWS, dtype=torch.bool),
    )
    return images[rows], Targets(*(field[rows] for field in targets))


def gradients(loss: nn.Module, rows: slice) -> Gradients:
    loss(*images_and_targets(rows)).backward()
    return {
        name.removeprefix("module."): parameter.grad
        for name, parameter in loss.named_parameters()
        if parameter.grad is not None
    }


def save_gradients(rank: int, folder: Path, group: str) -> None:
    """One of two; the first leaves the gradients of every family of a group in `folder`."""
    for family in GROUPS[group]:
        found = gradients(DistributedDataParallel(new_loss(family)), HALVES[rank])
        if rank == 0:
            torch.save(found, folder / f"{family}.pt")


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """From a group to the folder with the gradients that two processes agree on."""

    @cache
    def folder(group: str) -> Path:
        made = tmp_path_factory.mktemp(group)
        run_as_pair(save_gradients, made, group)
        return made

    return folder


@pytest.mark.parametrize(
    ("group", "family"),
    [
        pytest.param(group, family, marks=[pytest.mark.slow] * (group == "variants"))
        for group, families in GROUPS.items()
        for family in families
    ],
)
def test_two_processes_are_one_with_all_images(
    group: str, family: str, of_two: Callable[[str], Path]
) -> None:
    found = torch.load(of_two(group) / f"{family}.pt")
    loss = new_loss(family)
    expected = gradients(loss, slice(None))
    assert found.keys() == expected.keys() == dict(loss.named_parameters()).keys()
    # Sums of float32 in another order; relative to the layer, since single numbers cancel out.
    scales = {name: gradient.abs().max().item() for name, gradient in expected.items()}
    for name, gradient in expected.items():
        torch.testing.assert_close(
            found[name], gradient, rtol=0, atol=1e-4 * scales[name], msg=name
        )
    silent = [name for name, scale in scales.items() if scale == 0]
    assert len(silent) < len(scales) / 2 if family in LARGE_PRIORS else not silent
