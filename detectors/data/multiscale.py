"""Changes the input size from batch to batch: random training shapes."""

from collections.abc import Sequence

from detectors.data.ranges import check, whole
from detectors.random_streams import stream


class Multiscale:
    """The side of a square canvas, drawn anew from a set every few batches.

    YOLOv2, sec. 2 "Multi-Scale Training": one of {320, 352, ..., 608} every 10 batches. The side is
    a function of (seed, epoch, batch) alone, all sides equally likely: so it does not depend on
    workers, is the same on all devices, and goes on as it was in a resumed run.

    Args:
        sides: pixels; multiples of the coarsest stride.
        every: batches of one device that share a side, counted from the start of each epoch. Where
            gradients are accumulated over n batches, n times the paper's number.

    Raises:
        ValueError: there is no side, one is no multiple of 32, or `every` is below 1.
    """

    def __init__(self, sides: Sequence[int], every: int = 10) -> None:
        multiples = bool(sides) and all(side >= 32 and not side % 32 for side in sides)
        like = "sides, multiples of 32, the coarsest stride, for example [320, 352, 384]"
        strides = multiples, f"{like}, found {list(sides)}"
        check("multiscale", strides, whole("every", every, 1))
        self.sides, self.every = tuple(sides), every

    def side(self, seed: int, epoch: int, batch: int) -> int:
        """Pixels of the canvas of a batch."""
        rng = stream(seed, epoch, batch // self.every, name="side of a canvas")
        return self.sides[int(rng.integers(len(self.sides)))]
