"""Networks of which only the shapes matter."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

INITIAL = [name for name in vars(nn.init) if name.endswith("_") and name[0] != "_"]


@contextmanager
def shapes_only() -> Iterator[None]:
    """What is made inside is on the device "meta" and has no initial values.

    There PyTorch works out the shapes of a norm, whose output is as its input, by a dozen
    operations in Python, and those of initial values likewise: together a third of the time.
    """

    def unchanged(x: Tensor, *_: object, **__: object) -> Tensor:
        return x

    def batch_norm(x: Tensor, mean: Tensor | None, *_: object, **__: object) -> Tensor:
        assert mean is None or x.shape[1] == len(mean)
        return x

    def group_norm(x: Tensor, groups: int, weight: Tensor, *_: object) -> Tensor:
        assert x.shape[1] == len(weight)
        return x

    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        for name in INITIAL:
            patch.setattr(nn.init, name, unchanged)
        patch.setattr(functional, "batch_norm", batch_norm)
        patch.setattr(torch, "group_norm", group_norm)
        yield
