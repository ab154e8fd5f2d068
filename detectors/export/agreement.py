"""Compares what two forms of one detector say of the same pictures.

Two rows are partners if they have one label, scores within `SCORE` and boxes within their `leeway`.
Two lists agree if each row has a partner of its own, ties aside: rows whose scores are no further
apart than twice the largest difference between partners may have changed places, and a row may lack
its partner where its score lies that close to the one at which the other list ends.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from detectors.ops.boxes import sides
from detectors.structures import Detections

PIXELS = 1e-2  # of the canvas
SCORE = 1e-4
# Of the longer side of a box. Deltas come of the layers that logits come of, which may differ by 4
# SCORE, as no sigmoid is steeper than 1/4. A delta moves an edge by up to (1/10 + 1/10) of a side,
# in a cascade, whose looks divide by 10, 20 and 30, by as much times 1 + 1/2 + 1/3.
SIDES = 4 * SCORE * 0.2 * (1 + 1 / 2 + 1 / 3)
ROUNDING = 1e-6  # difference of scores that is a tie in any case
HALF_PIXELS = 1.0  # what rounding the weights to float16 may do to a detection
HALF_SCORE = 1e-2
HALF_SHARE = 0.95  # of the detections, which it may do no more to


class Agreement(NamedTuple):
    """The rows compared, and the largest differences between partners."""

    rows: int
    pixels: float
    score: float
    moved: int = 0  # rows to which ties gave another place
    absent: int = 0  # rows without a partner, at the end of a list

    def with_other(self, other: "Agreement") -> "Agreement":
        """Both together."""
        return Agreement(
            self.rows + other.rows,
            max(self.pixels, other.pixels),
            max(self.score, other.score),
            self.moved + other.moved,
            self.absent + other.absent,
        )


NOTHING = Agreement(0, 0.0, 0.0)


class Rows(NamedTuple):
    """The detections of one picture, scores falling."""

    boxes: Tensor  # [n, 4]
    scores: Tensor  # [n]
    labels: Tensor  # [n]


def rows_of(detections: Detections) -> list[Rows]:
    """Those of each picture that are real."""
    *fields, valid = detections
    return [Rows(*(field[i][mask] for field in fields)) for i, mask in enumerate(valid)]


def partners(a: Rows, b: Rows, pixels: float = PIXELS, score: float = SCORE) -> list[int | None]:
    """For each row of `a` the nearest row of `b` that is its partner, and no other's."""
    apart = (a.boxes[:, None] - b.boxes[None]).abs().amax(-1)
    near = apart <= leeway(a.boxes, pixels)[:, None]
    near &= (a.scores[:, None] - b.scores[None]).abs() <= score
    apart = torch.where(near & (a.labels[:, None] == b.labels[None]), apart, torch.inf)
    found: list[int | None] = []
    for row in apart:
        best = int(row.argmin()) if len(row) and row.min() < torch.inf else None
        if best is not None:
            apart[:, best] = torch.inf
        found.append(best)
    return found


def leeway(boxes: Tensor, pixels: float = PIXELS) -> Tensor:
    """How far the edges of each box [..., 4] may lie from those of its partner, [...] pixels."""
    return (SIDES * sides(boxes).amax(-1)).clamp(min=pixels)


def detections_agree(expected: Detections, found: Detections, threshold: float) -> Agreement:
    """How far the detections of a batch are apart.

    Args:
        threshold: score above which candidates become detections.

    Raises:
        ValueError: further than `leeway` or `SCORE`; names the first row without a partner.
    """
    most, total = expected.valid.shape[1], NOTHING
    for number, (a, b) in enumerate(zip(rows_of(expected), rows_of(found), strict=True), 1):
        place = f"picture {number} of a batch of {len(expected.boxes)}"
        total = total.with_other(_rows_agree(a, b, threshold, most, place))
    return total


def _rows_agree(a: Rows, b: Rows, threshold: float, most: int, place: str) -> Agreement:
    pairs = [(i, j) for i, j in enumerate(partners(a, b)) if j is not None]
    pixels = max((gap(a.boxes[i], b.boxes[j]) for i, j in pairs), default=0.0)
    score = max((gap(a.scores[i], b.scores[j]) for i, j in pairs), default=0.0)
    own, others = _without(a, [i for i, _ in pairs]), _without(b, [j for _, j in pairs])
    for rows, alone, other in ((a, own, b), (b, others, a)):
        ends = [threshold, *other.scores[most - 1 : most].tolist()]  # where the other list ends
        for row in alone:
            if min(abs(float(rows.scores[row]) - end) for end in ends) > 2 * score + ROUNDING:
                told, near = _told(rows, row), _near(rows, row, other)
                raise ValueError(f"{place}: {told} is in one list alone; {near}")
    moved = sum(j > following for (_, j), (_, following) in pairwise(pairs))
    return Agreement(len(pairs), pixels, score, moved, len(own) + len(others))


def _without(rows: Rows, paired: Sequence[int]) -> list[int]:
    """The numbers of the other rows."""
    return sorted({*range(len(rows.scores))} - {*paired})


def _told(rows: Rows, row: int) -> str:
    box = ", ".join(f"{side:.3f}" for side in rows.boxes[row].tolist())
    score = float(rows.scores[row])
    return f"row {row}, label {int(rows.labels[row])}, score {score:.6f} at ({box})"


def _near(rows: Rows, row: int, other: Rows) -> str:
    """The row of the other list whose box is nearest."""
    if not len(other.scores):
        return "the other list is empty"
    apart = (other.boxes - rows.boxes[row]).abs().amax(-1)
    return f"the nearest of the other list is {_told(other, int(apart.argmin()))}"


def candidates_agree(expected: Sequence[Tensor], found: Sequence[Tensor]) -> Agreement:
    """How far the boxes and scores of all candidates of a batch are apart, row by row.

    Args:
        expected, found: boxes, scores, and what else is told of candidates.

    Raises:
        ValueError: further than `leeway` or `SCORE`, which holds for all else, too, relative to its
            largest number.
    """
    pixels, score, *others = (gap(a, b) for a, b in zip(expected, found, strict=True))
    close = bool(((expected[0] - found[0]).abs().amax(-1) <= leeway(expected[0])).all())
    largest = [max(1.0, float(values.abs().max())) for values in expected[2:]]
    limits = [SCORE, *(SCORE * number for number in largest)]
    # Not one that exceeds: so too where a number is not finite.
    if not close or not all(
        one <= limit for one, limit in zip([score, *others], limits, strict=True)
    ):
        told = "".join(f", and {one:.3g} of what else is told of them" for one in others)
        raise ValueError(f"candidates are {pixels:.3g} px and {score:.3g} of a score apart{told}")
    return Agreement(expected[0][..., 0].numel(), pixels, score)


def gap(a: Tensor, b: Tensor) -> float:
    """The largest difference."""
    return float((a - b).abs().max())


class Rounding(NamedTuple):
    """What float16 weights did to the detections of a checkpoint."""

    rows: int  # detections of the checkpoint
    near: int  # those with a partner within `HALF_PIXELS` and `HALF_SCORE`
    pixels: float  # median distance of these
    score: float


def rounded(expected: Sequence[Detections], found: Sequence[Detections]) -> Rounding:
    """How near the detections with float16 weights are to those of the checkpoint.

    Raises:
        ValueError: fewer than `HALF_SHARE` of them are near.
    """
    pixels, scores, rows = [], [], 0
    for batch, other in zip(expected, found, strict=True):
        for a, b in zip(rows_of(batch), rows_of(other), strict=True):
            rows += len(a.scores)
            for i, j in enumerate(partners(a, b, HALF_PIXELS, HALF_SCORE)):
                if j is not None:
                    pixels.append(gap(a.boxes[i], b.boxes[j]))
                    scores.append(gap(a.scores[i], b.scores[j]))
    if len(pixels) < HALF_SHARE * rows:
        raise ValueError(
            f"precision=16: of {rows} detections of the checkpoint only {len(pixels)} stay within "
            f"{HALF_PIXELS} px and {HALF_SCORE} of a score with weights in float16, fewer than "
            f"{HALF_SHARE:.0%}: choose precision=32"
        )
    return Rounding(rows, len(pixels), *(float(torch.tensor(x).median()) for x in (pixels, scores)))
