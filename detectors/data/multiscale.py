"""Input sizes that change from batch to batch: random training shapes."""

from collections.abc import Sequence

import numpy as np

STREAM = 0x6D73  # keeps these draws apart from those of the order of an epoch


class Multiscale:
    """The side of a square canvas, drawn anew from a set every few batches.

    YOLOv2, sec. 2 "Multi-Scale Training": one of {320, 352, ..., 608} every 10 batches. The side is
    a function of (seed, epoch, batch) alone, all sides being alike likely: so it does not depend on
    workers, is the same on all devices, and goes on as it was in a resumed run.

    Args:
        sides: pixels; multiples of the coarsest stride.
        every: batches of one device that share a side, counted from the start of each epoch. Where
            gradients are accumulated over n batches, n times the paper's number.

    Raises:
        ValueError: there is no side, one is no multiple of 32, or `every` is below 1.
    """

    def __init__(self, sides: Sequence[int], every: int = 10) -> None:
        if not sides or any(side < 32 or side % 32 for side in sides):
            raise ValueError(
                f"multiscale: `sides` is {list(sides)}, expected multiples of 32, the coarsest "
                "stride, for example [320, 352, 384]"
            )
        if every < 1:
            raise ValueError(f"multiscale: `every` is {every}, expected at least one batch")
        self.sides, self.every = tuple(sides), every

    def side(self, seed: int, epoch: int, batch: int) -> int:
        """Pixels of the canvas of a batch."""
        rng = np.random.default_rng([seed, epoch, batch // self.every, STREAM])
        return self.sides[int(rng.integers(len(self.sides)))]
