"""Class weights come from the training split."""

from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from detectors.callbacks.class_counts import SetClassCounts
from detectors.losses.class_balance import ClassBalancedWeight


def test_counts_objects_of_the_training_split_but_for_ignored_ones() -> None:
    train = SimpleNamespace(
        labels=np.array([0, 0, 0, 2, 2, 0]),
        crowd=np.array([False, False, False, False, False, True]),
        difficult=np.array([False, False, True, False, False, False]),
        classes=("a", "b", "c"),
    )
    data = SimpleNamespace(annotations={"train": train}.__getitem__)
    module = nn.ModuleList([ClassBalancedWeight(3, beta=0.9)])
    SetClassCounts().on_fit_start(SimpleNamespace(datamodule=data), module)
    expected = ClassBalancedWeight(3, beta=0.9)
    expected.count(torch.tensor([2, 0, 2]))
    assert torch.equal(module[0].weights, expected.weights)
