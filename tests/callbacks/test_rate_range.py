"""The range test writes the loss of every rate, stops where it explodes, and suggests rates."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from detectors.callbacks.rate_range import RateRange, smoothed, suggestion
from detectors.optim import rising


class Valley(LightningModule):
    """Loss x^2 / 2 from x = 1 on: a step of rate r multiplies x by 1 - r, and explodes above 2."""

    def __init__(self, steps: int, first: float = 1.0) -> None:
        super().__init__()
        self.place, self.steps = torch.nn.Parameter(torch.full((1,), first)), steps

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> dict:
        loss = self.place.square().sum() / 2
        return {"loss": loss, "terms": {"a": loss.detach() / 4, "b": 3 * loss.detach() / 4}}

    def configure_optimizers(self) -> tuple:
        optimizer = torch.optim.SGD([{"params": [self.place], "lr": 1.0}], lr=1.0)
        return [optimizer], [{"scheduler": rising(optimizer, self.steps), "interval": "step"}]


def tried(folder: Path, module: Valley, accumulated: int = 1) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        accumulate_grad_batches=accumulated,
        callbacks=[RateRange(str(folder), window=1)],
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.zeros(accumulated * module.steps, 1)))
    return trainer


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "lr_range.csv").open() as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_rates_rise_by_one_factor_until_the_loss_explodes(accumulated: int, tmp_path: Path) -> None:
    trainer = tried(tmp_path, Valley(90), accumulated)
    found = rows(tmp_path)
    growth = (10 / 1e-7) ** (1 / 89)
    np.testing.assert_allclose([r["lr"] for r in found], 1e-7 * growth ** np.arange(len(found)))
    place = 1.0  # the loss of a step is that before it
    for row in found:
        assert row["loss"] == pytest.approx(place**2 / 2, rel=1e-4)
        place *= 1 - row["lr"]
    assert 2 < found[-1]["lr"] < 10
    assert trainer.global_step == len(found) < 90
    assert (tmp_path / "lr_range.png").stat().st_size > 1000


def test_a_first_loss_that_is_not_finite_is_no_test(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match="the first loss is nan"):
        tried(tmp_path, Valley(9, math.nan))


def test_smoothing_takes_the_neighbours_that_there_are() -> None:
    assert smoothed([1, 2, 6, 7], 1) == [1.5, 3, 5, 6.5]
    assert smoothed([1, 3, math.inf], 1) == [2, 2, 3]


def test_suggestions_are_the_steepest_descent_and_a_tenth_of_the_least() -> None:
    rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    assert suggestion(rates, [9, 8, 4, 3, 20]) == pytest.approx((1e-3, 1e-2))  # slopes -1 -2.5 -2.5
    assert suggestion(rates, [9, 8.5, 4, 3, 20]) == pytest.approx((1e-2, 1e-2))
    assert suggestion(rates, [1, 2, 3, 4, 5]) is None
