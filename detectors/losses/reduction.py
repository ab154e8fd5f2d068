"""Makes one scalar of the costs of all priors, the same for one process as for many."""

import torch
import torch.distributed as dist
from torch import Tensor


def total(costs: Tensor, normalizer: Tensor) -> Tensor:
    """Sum of costs [B, N], those of each image divided by its normaliser [B]."""
    return (costs.sum(dim=1) / normalizer).sum()


def mean_over_devices(count: Tensor, least: float = 1.0) -> Tensor:
    """A scalar averaged over all processes, at least `least` in total.

    Gradients are averaged over processes too, so a loss divided by this average has the gradient of
    one process that holds all images.
    """
    if devices() == 1:
        return count.clamp(min=least)
    count = count.clone()
    dist.all_reduce(count)
    return count.clamp(min=least) / devices()


def devices() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def over_mean(weights: Tensor, positive: Tensor, least: float) -> Tensor:
    """Weights [B, N] over their mean among positives, on all devices; 1 for all others.

    So a sum over positives that is divided by their number becomes a mean with these weights.

    Args:
        positive: [B, N] float 0 or 1.
        least: of the sum of the weights of positives.
    """
    count = mean_over_devices(positive.sum())
    mean = mean_over_devices((weights * positive).sum(), least) / count
    return torch.where(positive > 0, weights / mean, 1.0)


def per_batch_positives(positive: Tensor, counted: Tensor) -> Tensor:
    """Number of positives in the batch, on all devices (FCOS, eq. 2).

    Like all normalisers here: takes `positive` and `counted`, [B, N] float, and returns [B].
    """
    return mean_over_devices(positive.sum()).expand(len(positive))


def per_batch_positives_and_one(positive: Tensor, counted: Tensor) -> Tensor:
    """One more than the positives of the batch, on all devices (`detection_loss` of EfficientDet).

    The release has one more on each of its devices.
    """
    count = mean_over_devices(positive.sum(), least=0.0) + 1 / devices()
    return count.expand(len(positive))


def per_batch_positives_and_images(positive: Tensor, counted: Tensor) -> Tensor:
    """Number of positives and of images of the batch, on all devices (FoveaBox's fovea_head.py)."""
    return mean_over_devices(positive.sum() + positive.shape[0]).expand(len(positive))


def per_image_positives(positive: Tensor, counted: Tensor) -> Tensor:
    """Number of positives of each image, times the batch size: a mean over images (torchvision)."""
    return positive.sum(dim=1).clamp(min=1) * len(positive)


def per_batch_counted(positive: Tensor, counted: Tensor) -> Tensor:
    """Number of sampled priors in the batch, on all devices (Faster R-CNN, eq. 1)."""
    return mean_over_devices(counted.sum()).expand(len(counted))


def per_image(positive: Tensor, counted: Tensor) -> Tensor:
    """The batch size: a sum over each image and a mean over images (darknet)."""
    return torch.full_like(positive[:, 0], len(positive))
