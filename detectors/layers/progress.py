"""How far training has come, for parts that change on the way."""

import torch
from torch import Tensor, nn


class ImagesSeen(nn.Module):
    """A clock that counts training images, those of the step being made included.

    `callbacks.images_seen` sets it before every step; without that callback it stands at zero, the
    start of training. A tensor, so that a compiled step reads it and is not compiled anew; it is
    not saved, because it follows from the trainer's own progress.
    """

    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.int64), persistent=False)

    def before(self, images: int) -> Tensor:
        """A scalar, 1.0 until `images` have been seen and 0.0 from then on."""
        return (self.count < images).float()


class TrainingProgress(nn.Module):
    """The share of the run that is done, from 0 to 1.

    `callbacks.training_progress` sets it before every step; without that callback it stands at
    zero. A tensor and not saved, as `ImagesSeen`.
    """

    done: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("done", torch.zeros(()), persistent=False)
