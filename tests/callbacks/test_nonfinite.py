from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from detectors.callbacks.nonfinite import NonFiniteStop


class Diverging(LightningModule):
    """Its box loss is NaN from batch `bad` on; the learning rate halves with every step.

    From batch `spoiled` on, gradients of `second` and all before it are `factor` times as large.
    """

    factor = torch.inf

    def __init__(self, bad: int, spoiled: int = 99) -> None:
        super().__init__()
        self.bad, self.spoiled = bad, spoiled
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.second, self.third = (torch.nn.Parameter(torch.ones(1)) for _ in range(2))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> dict:
        hidden = self.weight * self.second
        if batch_idx >= self.spoiled:
            hidden.register_hook(lambda gradient: gradient * self.factor)
        box = hidden.sum() * (torch.nan if batch_idx >= self.bad else 1.0) + self.third.sum()
        terms = {"class": self.weight.sum().detach(), "box": box.detach()}
        return {"loss": box, "terms": terms}

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None: ...

    def configure_optimizers(self) -> tuple:
        optimizer = torch.optim.SGD(self.parameters(), lr=1.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5**step)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def train(folder: Path, bad: int, callback: NonFiniteStop, spoiled: int = 99) -> Trainer:
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[callback],
        logger=False,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        gradient_clip_val=1.0,
    )
    loader = torch.utils.data.DataLoader(torch.zeros(5, 1))
    trainer.fit(Diverging(bad, spoiled), loader, loader)
    return trainer


def test_names_step_term_and_learning_rate(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"term box .* step 2 \(learning rate 0\.25\)"):
        train(tmp_path, 2, NonFiniteStop())


def test_rare_looks_name_the_first_bad_step_and_come_before_validation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    callback = NonFiniteStop(every=100)
    monkeypatch.setattr(NonFiniteStop, "_costs_nothing", staticmethod(lambda module: False))
    monkeypatch.setattr(Diverging, "on_validation_epoch_start", lambda self: pytest.fail("late"))
    with pytest.raises(FloatingPointError, match=r"step 1 \(learning rate 0\.5\)"):
        train(tmp_path, 1, callback)


def test_finite_training_ends(tmp_path: Path) -> None:
    assert train(tmp_path, 99, NonFiniteStop(every=2)).global_step == 5


@pytest.mark.parametrize("cheap", [True, False])
def test_a_gradient_is_blamed_where_the_loss_is_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cheap: bool
) -> None:
    """The step after has a NaN for a loss, but that is not what is to blame."""
    monkeypatch.setattr(NonFiniteStop, "_costs_nothing", staticmethod(lambda module: cheap))
    message = r"gradient of second, and of 1 parameters more, is not finite at training step 2 "
    with pytest.raises(FloatingPointError, match=message + r"\(learning rate 0\.25\), though the "):
        train(tmp_path, 99, NonFiniteStop(every=100), spoiled=2)


def test_finite_gradients_whose_squares_overflow_are_finite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Diverging, "factor", 1e25)
    assert train(tmp_path, 99, NonFiniteStop(), spoiled=2).global_step == 5


def test_a_loss_is_blamed_before_its_gradients(tmp_path: Path) -> None:
    with pytest.raises(FloatingPointError, match=r"loss term box .* step 2 "):
        train(tmp_path, 2, NonFiniteStop(), spoiled=2)
