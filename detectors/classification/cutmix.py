"""CutMix for classes (Yun et al. 2019): pastes rectangles and mixes labels by their areas."""

import numpy as np
import torch
from torch import Tensor

from detectors.data.augment.copy_paste import rectangle
from detectors.data.ranges import above, chance, check
from detectors.ranges import Positive, Share


class BatchCutMix:
    """Mixes a share of the batches.

    Args:
        probability: of a batch; 0: none.
        alpha: of the Beta distribution; 1 is uniform, as published for ImageNet (sec. 4.1).

    Raises:
        ValueError: an argument is out of its range.
    """

    def __init__(self, probability: Share, alpha: Positive = 1.0) -> None:
        check("cutmix", chance(probability), above("alpha", alpha, 0))
        self.probability, self.alpha = probability, alpha

    def __call__(
        self, images: Tensor, targets: Tensor, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        """Arguments and results as `cutmix`; all chance comes from `rng`."""
        if rng.random() >= self.probability:
            return images, targets
        height, width = images.shape[-2:]
        place = rectangle(height, width, 1 - rng.beta(self.alpha, self.alpha), rng)
        return cutmix(images, targets, place, rng.permutation(len(images)))


def cutmix(
    images: Tensor, targets: Tensor, place: tuple[int, int, int, int], partners: np.ndarray
) -> tuple[Tensor, Tensor]:
    """Images with a rectangle of their partners, targets mixed by the areas (lines 14 to 16).

    Args:
        images: [B, 3, H, W].
        targets: [B, C] in [0, 1].
        place: of the rectangle, in all images the same.
        partners: [B] rows.
    """
    top, left, bottom, right = place
    rows = torch.from_numpy(partners).to(images.device, non_blocking=True)
    mixed = images.clone()
    mixed[..., top:bottom, left:right] = images[rows, :, top:bottom, left:right]
    share = (bottom - top) * (right - left) / (images.shape[-2] * images.shape[-1])
    return mixed, torch.lerp(targets, targets[rows], share)
