"""The order of an epoch, and in it the pictures that are shown near each other."""

import numpy as np

from detectors.data.repeat_factor import repeated
from detectors.random_streams import stream


class EpochOrder:
    """The keys of the pictures of an epoch, shuffled: a function of (seed, epoch) alone.

    Args:
        size: pictures of the data set.
        seed: any integer that is not negative.
        factors: [size] how often each is seen, see `RepeatFactor`; None: once an epoch. The key of
            a picture that comes again is larger by `size` each time.
    """

    def __init__(self, size: int, seed: int, factors: np.ndarray | None = None) -> None:
        self.size, self.seed, self.factors = size, seed, factors
        self._last: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self.size if self.factors is None else int(self.factors.sum())

    def keys(self, epoch: int) -> np.ndarray:
        """[n] every key of the epoch once, n being at least `len(self)`."""
        if self._last is None or self._last[0] != epoch:
            ordered = np.arange(self.size)
            if self.factors is not None:
                ordered = repeated(self.factors, self.seed, epoch)
            rng = stream(self.seed, epoch, name="order of an epoch")
            self._last = epoch, rng.permutation(ordered)
        return self._last[1]


class Neighbours:
    """Where the partners of a mix come from: a block of the order of the epoch.

    The order is cut into blocks of `block` keys, the last one longer by what is left. A sample
    finds its partners in its own block, each as likely as any other. So a worker that prepares
    samples in this order meets the same pictures again and has to decode them but once, while the
    sample remains a function of (seed, epoch, index), whoever prepares it.
    """

    def __init__(self, order: EpochOrder, block: int) -> None:
        self.order, self.block = order, block
        self._last: tuple[int, np.ndarray] | None = None

    def bounds(self, epoch: int, key: int) -> tuple[int, int]:
        """Start and end of the block of a key within the order."""
        count = len(self.order.keys(epoch))
        blocks = max(count // self.block, 1)
        number = min(int(self._places(epoch)[key]) // self.block, blocks - 1)
        return number * self.block, count if number == blocks - 1 else (number + 1) * self.block

    def drawn(self, rng: np.random.Generator, epoch: int, key: int, count: int) -> list[int]:
        """Numbers of `count` pictures of the block of a key."""
        keys = self.order.keys(epoch)[slice(*self.bounds(epoch, key))]
        return (keys[rng.integers(len(keys), size=count)] % self.order.size).tolist()

    def _places(self, epoch: int) -> np.ndarray:
        """The place in the order of each key."""
        if self._last is None or self._last[0] != epoch:
            keys = self.order.keys(epoch)
            places = np.zeros(int(keys.max()) + 1, np.int64)
            places[keys] = np.arange(len(keys))
            self._last = epoch, places
        return self._last[1]
