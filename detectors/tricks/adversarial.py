"""Self-adversarial training: changes images so that the detector misses their objects."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from detectors.detector import Detector
from detectors.heads.criterion import Criterion
from detectors.heads.windows import WindowGrid
from detectors.optim import steps_of
from detectors.structures import Batch, FeatureSpec, Progress, Proposals, Targets

SCALE = 255.0  # of our images; darknet's are in [0, 1]


class SelfAdversarial:
    """Images moved against the gradient of the loss that says they are empty (YOLOv4, sec. 3.3).

    With the weights as they are, an image is taken a step towards one in which nothing is found;
    the training step then learns the true objects from it. As in darknet (AlexeyAB,
    `src/network_kernels.cu` and `src/yolo_layer.c`) the step is `rate * progress * gradient` of an
    image in [0, 1], progress being the share of the run that is done, images are cut to their
    range, and batch norms use their running statistics, which stay as they are. The loss is each
    image's own, so neither the batch nor the number of devices counts.

    Differs: the loss of the image without objects is the family's own, where darknet scales the
    gradients of objectness and class by the root of the predicted area and leaves out predictions
    that it ignored; parts that draw, such as dropout, are at rest; all devices change their images
    in the same steps, because losses are reduced over all of them.

    Args:
        rate: darknet's `adversarial_lr`; of an image in [0, 1].
        probability: of a mini-batch to be changed.
        burn_in: no image is changed before; a share of the run below 1, steps from 1 on.

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, rate: float = 0.05, probability: float = 0.5, burn_in: float = 0.0) -> None:
        if rate <= 0 or not 0 < probability <= 1 or burn_in < 0:
            raise ValueError(
                f"expected rate > 0, probability in (0, 1] and burn_in >= 0, found {rate}, "
                f"{probability} and {burn_in}"
            )
        self.rate, self.probability, self.burn_in = rate, probability, burn_in

    def __call__(self, batch: Batch, detector: Detector, progress: Progress, seed: int) -> Batch:
        """The batch with images float32 in 0..255, or as it is."""
        early = progress.step < steps_of(self.burn_in, progress.steps)
        if early or np.random.default_rng(seed).random() >= self.probability:
            return batch
        torch.manual_seed(seed)  # of what a two-stage head draws
        gradient = empty_gradient(detector, batch.images, batch.targets, *batch.places)
        # A pixel of 0..255 has 1 / 255 of the gradient, and takes 255 times the step.
        moved = self.rate * progress.step / progress.steps * SCALE**2 * gradient
        return batch._replace(images=(batch.images - moved).clamp(0, SCALE))

    def check(self, detector: Detector, canvas: tuple[int, int]) -> None:
        """Refuse a detector that an image without objects costs nothing.

        Raises:
            ValueError: the gradient of such an image is zero everywhere.
        """
        if not any(gradient.any() for gradient in _empty_gradients_of_levels(detector, canvas)):
            raise ValueError(
                "self-adversarial training follows the gradient of an image without objects, but "
                "here such an image costs nothing (of hard negatives there are so many for each "
                "object): choose another class_loss, such as softmax, or leave the trick out"
            )


def empty_gradient(
    detector: Detector,
    images: Tensor,
    targets: Targets,
    frames: Tensor | None = None,
    proposals: Proposals | None = None,
) -> Tensor:
    """Gradient by the pixels, in 0..255, of each image's loss as if it had no objects; float32.

    No gradient of a weight and no running statistic changes.
    """
    images = images.detach().float().requires_grad_()
    nothing = targets._replace(valid=torch.zeros_like(targets.valid))
    with _evaluating(detector), torch.enable_grad():
        terms = detector.loss(images, nothing, frames, proposals)
        total = torch.stack(list(terms.values())).sum()
        if not total.requires_grad:
            return torch.zeros_like(images)
        (gradient,) = torch.autograd.grad(total, images, allow_unused=True)
    if gradient is None:
        return torch.zeros_like(images)
    return gradient * _share(detector, len(images))


def _empty_gradients_of_levels(detector: Detector, canvas: tuple[int, int]) -> list[Tensor]:
    """Gradients of the loss of an image without objects by the levels of the neck it depends on.

    Without the backbone, which takes the most time and lets every gradient through.
    """
    height, width = canvas
    specs: Sequence[FeatureSpec] = detector.neck.specs
    levels = [
        torch.rand(1, channels, -(-height // stride), -(-width // stride), requires_grad=True)
        for channels, stride in specs
    ]
    nothing = torch.zeros(1, 1)
    targets = Targets(nothing[..., None].expand(1, 1, 4), nothing.long(), *[nothing.bool()] * 2)
    with _evaluating(detector):
        frames = torch.tensor([[0.0, 0.0, width, height]])
        given = (WindowGrid()(frames),) if detector.head.takes_proposals else ()
        output = detector.head(levels, frames, targets, *given)
        total = torch.stack(list(detector.head.loss(output, targets).values())).sum()
    if not total.requires_grad:
        return []
    gradients = torch.autograd.grad(total, levels, allow_unused=True)
    return [gradient for gradient in gradients if gradient is not None]


def _share(detector: nn.Module, images: int) -> Tensor:
    """[B, 1, 1, 1] the divisor of each image's loss in a batch without objects."""
    criteria = (part for part in detector.modules() if isinstance(part, Criterion))
    none = torch.zeros(images, 1, device=next(detector.parameters()).device)
    normalizer = next(criteria).normalizers["class"]
    return normalizer(none, torch.ones_like(none)).view(-1, 1, 1, 1)


@contextmanager
def _evaluating(detector: nn.Module) -> Iterator[None]:
    """Every part in evaluation mode, and afterwards in the one it had."""
    training = [part for part in detector.modules() if part.training]
    detector.eval()
    try:
        yield
    finally:
        for part in training:
            part.training = True
