"""Running maxima over maps."""

from torch import Tensor


def running_maximum(values: Tensor, dim: int, backwards: bool = False) -> Tensor:
    """The largest value up to each place along `dim`; backwards: from each place on.

    Args:
        values: any shape.

    Returns:
        The same shape. Its gradient goes to the places of the maxima, one each.
    """
    if not backwards:
        return values.cummax(dim).values
    return values.flip(dim).cummax(dim).values.flip(dim)
