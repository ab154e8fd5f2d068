"""Keeps the pictures of a block of samples in a worker's own memory."""

from collections.abc import Callable, Hashable

import numpy as np

MOST = 128 * 2**20  # bytes; of pictures that do not fit any more each use decodes anew


class Recent:
    """Pictures that this process has read for the present block of samples; see `Neighbours`.

    It takes the place of a `Cache` where there is none, and no `SharedRecent` can be had. All is
    forgotten when the next block begins, so its size does not grow; the memory of a picture is then
    written to again.

    Args:
        sizes: [I, 2] height and width of what is kept of each picture.
    """

    def __init__(self, sizes: np.ndarray) -> None:
        self.sizes = sizes
        self._block: Hashable = None
        self._kept: dict[int, np.ndarray] = {}
        self._memory = np.empty(0, np.uint8)  # made in the process that needs it
        self._used = 0

    def begin(self, block: Hashable) -> None:
        """Forget what was kept for any other block."""
        if block != self._block:
            self._block, self._kept, self._used = block, {}, 0

    def image(self, index: int, make: Callable[[], np.ndarray]) -> np.ndarray:
        """[H, W, 3] uint8, read-only: the picture, made by `make` where it is not kept."""
        found = self._kept.get(index)
        if found is None:
            found = make()
            if self._used + found.nbytes <= MOST:
                found = self._kept[index] = self._copy(found)
        return found

    def _copy(self, image: np.ndarray) -> np.ndarray:
        if not len(self._memory):
            self._memory = np.empty(MOST, np.uint8)
        start, self._used = self._used, self._used + image.nbytes
        copy = self._memory[start : self._used].reshape(image.shape)
        copy[:] = image
        copy.flags.writeable = False
        return copy
