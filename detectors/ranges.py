"""Names the ranges of the numbers that parts take: `threshold: Share`, `depth: Count`.

Whoever makes a part of a config compares its numbers with these (`config.instantiate`). NaN lies in
no range.
"""

from typing import Annotated, NamedTuple


class Within(NamedTuple):
    """An interval, written as usual: "[0, 1)" leaves out the 1."""

    interval: str

    def __contains__(self, value: object) -> bool:
        assert isinstance(value, (int, float))
        low, high = map(float, self.interval[1:-1].split(","))
        above = value > low or (value == low and self.interval[0] == "[")
        below = value < high or (value == high and self.interval[-1] == "]")
        return above and below


Share = Annotated[float, Within("[0, 1]")]
Inner = Annotated[float, Within("(0, 1)")]
Positive = Annotated[float, Within("(0, inf)")]
Weight = Annotated[float, Within("[0, inf)")]  # a factor, a rate, or a length that may be none
Count = Annotated[int, Within("[1, inf)")]
Whole = Annotated[int, Within("[0, inf)")]
