"""What an evaluation takes is told as a share of the time since the last one."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch.trainer.states import TrainerFn

from detectors.callbacks import costs
from detectors.callbacks.costs import Costs


def trainer(epoch: int, first: bool = True, sanity: bool = False) -> Any:
    strategy = SimpleNamespace(root_device=torch.device("cpu"))
    state = SimpleNamespace(fn=TrainerFn.FITTING)
    return SimpleNamespace(
        strategy=strategy,
        state=state,
        current_epoch=epoch,
        is_global_zero=first,
        sanity_checking=sanity,
    )


def test_the_share_of_each_evaluation(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    times = iter([0.0, 6.0, 8.0, 17.0, 18.0, 20.0, 21.0])
    monkeypatch.setattr(costs.time, "perf_counter", lambda: next(times))
    counted: Any = Costs()
    counted.on_train_start(trainer(0), None)
    for epoch in (0, 1):
        counted.on_validation_start(trainer(epoch), None)
        counted.on_validation_end(trainer(epoch), None)
    assert [record.getMessage() for record in caplog.records] == [
        "evaluation after epoch 1: 2.0 s, 25 % of the time since the last one",
        "evaluation after epoch 2: 1.0 s, 10 % of the time since the last one",
    ]
    counted.on_validation_start(trainer(2, first=False), None)
    counted.on_validation_end(trainer(2, first=False), None)
    assert len(caplog.records) == 2
