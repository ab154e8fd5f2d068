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

    def norm(x: Tensor, *given: object, **_: object) -> Tensor:
        assert {len(each) for each in given if isinstance(each, Tensor)} <= {x.shape[1]}
        return x

    with torch.device("meta"), pytest.MonkeyPatch.context() as patch:
        for name in INITIAL:
            patch.setattr(nn.init, name, unchanged)
        patch.setattr(functional, "batch_norm", norm)
        patch.setattr(torch, "group_norm", norm)
        yield
