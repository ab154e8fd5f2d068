"""Orders the images of an epoch by (seed, epoch, step) alone, never by the state of a process."""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data.distributed import DistributedSampler

from detectors.data.epoch_order import EpochOrder
from detectors.data.loading import Loader
from detectors.data.multiscale import Multiscale

_log = logging.getLogger(__name__)


class EpochSampler(DistributedSampler):
    """Keys (epoch, index) of one rank's share of a shuffled epoch; (.., side) where sizes change.

    The epoch is cut into global batches of `batch_size * world`, what does not fill one is left
    out, and rank r takes the r-th part of each: so N processes together see the batches of one
    process with N times the batch. It is a DistributedSampler so that Lightning keeps it and calls
    `set_epoch`. The epoch travels in the key, because workers that outlive an epoch would not see
    it otherwise, and the side of a batch's canvas, because samples are made one by one. The order
    and the numbers of images that come more than once are those of `EpochOrder`.

    Attributes:
        start: batches to skip, once, when a run is resumed within an epoch.

    Raises:
        ValueError: the data set is smaller than one global batch.
    """

    def __init__(
        self,
        size: int,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world: int = 1,
        multiscale: Multiscale | None = None,
        factors: np.ndarray | None = None,
    ) -> None:
        super().__init__(range(size), world, rank, shuffle=True, seed=seed, drop_last=True)  # type: ignore[arg-type]
        self.multiscale = multiscale
        self.order = EpochOrder(size, seed, factors)
        self.batch_size = batch_size
        self.start = 0
        self.steps = len(self.order) // (batch_size * world)
        if not self.steps:
            raise ValueError(
                f"a batch of {batch_size} on each of {world} devices needs "
                f"{batch_size * world} training images, there are {size}; lower data.batch_size"
            )

    def __len__(self) -> int:
        return self.steps * self.batch_size

    def __iter__(self) -> Iterator[tuple[int, ...]]:
        start, self.start = self.start, 0
        batches = enumerate(self._batches()[start:, self.rank].tolist(), start)
        return iter([(self.epoch, k, *self._side(step)) for step, batch in batches for k in batch])

    def _side(self, step: int) -> tuple[int, ...]:
        """The side of the canvas of a batch, or nothing where all have that of the resize."""
        return (
            () if self.multiscale is None else (self.multiscale.side(self.seed, self.epoch, step),)
        )

    def _batches(self) -> np.ndarray:
        """[steps, world, batch] indices of this epoch."""
        used = self.order.keys(self.epoch)[: self.steps * self.num_replicas * self.batch_size]
        return used.reshape(self.steps, self.num_replicas, self.batch_size)


class ShareSampler(DistributedSampler):
    """Every `world`-th index from `rank` on, each index in exactly one share; nothing repeated.

    A DistributedSampler so that Lightning does not put its own in place, which pads with repeats.
    """

    def __init__(self, size: int, rank: int = 0, world: int = 1) -> None:
        super().__init__(range(size), world, rank, shuffle=False)  # type: ignore[arg-type]
        self.indices = range(rank, size, world)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices)


class ResumableLoader(Loader):
    """A loader over an EpochSampler that a checkpoint can hold within an epoch.

    Its state is the number of batches handed out, which Lightning stores and restores. After each
    epoch it logs how many objects the mixes had too many of.
    """

    sampler: EpochSampler
    step = 0

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        self.step = getattr(self.sampler, "start", 0)  # overfit_batches puts in a plain sampler
        dropped = 0
        for batch in super().__iter__():
            self.step += 1
            dropped += _dropped(batch)
            yield batch
        self.step = 0
        if dropped:
            _log.warning(
                "epoch %d: %d objects dropped, more than data.mix keeps in one image (its `most`)",
                getattr(self.sampler, "epoch", 0),
                dropped,
            )

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step % len(self)}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.sampler.start = state["step"]


def _dropped(batch: Any) -> int:
    """The number of objects left out of a batch; 0 for a batch that does not count them."""
    counts = getattr(batch, "dropped", None)
    return 0 if counts is None else int(counts.sum())
