import io

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from rich.console import Console

from detectors.callbacks import progress as showing
from detectors.callbacks.progress import EpochProgress, tracked


class Falling(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> dict:
        terms = {"box": torch.tensor(0.5), "class": torch.tensor(0.25)}
        for name, value in {**terms, "loss": sum(terms.values())}.items():
            self.log(f"train/{name}", value, on_step=True, on_epoch=True)
        return {"loss": self.weight.sum(), "terms": terms}

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/AP", 0.125)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize("terminal", [False, True])
def test_shows_losses_and_last_score(terminal: bool) -> None:
    progress = EpochProgress(every=1)
    written = io.StringIO()
    progress.steps.console = Console(file=written, force_terminal=terminal, width=160)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=[progress],
        logger=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    loader = torch.utils.data.DataLoader(torch.zeros(3, 1))
    trainer.fit(Falling(), loader, loader)
    lines = [line for line in written.getvalue().splitlines() if "epoch 2/2  " in line]
    assert lines[-1].endswith("epoch 2/2  box 0.5  class 0.25  loss 0.75  val/AP 0.125")
    if not terminal:
        assert len(written.getvalue().splitlines()) == 2


def test_lines_come_within_an_epoch_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Here after every batch."""
    monkeypatch.setattr(showing, "SECONDS", 0)
    progress = EpochProgress()
    written = io.StringIO()
    progress.steps.console = Console(file=written, width=160)
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        num_sanity_val_steps=0,
        callbacks=[progress],
        logger=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    loader = torch.utils.data.DataLoader(torch.zeros(2, 1))
    trainer.fit(Falling(), loader, loader)
    lines = written.getvalue().splitlines()
    assert lines[0] == "epoch 1/1  1/2  loss 0.75  box 0.5  class 0.25"
    assert lines[2:4] == ["validation  1/2", "validation  2/2"]
    assert len(lines) == 5


def test_items_of_a_command_are_counted_where_there_is_no_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.StringIO()
    console = Console(file=written, width=160)
    assert list(tracked([5, 6], "detecting", console)) == [5, 6]
    assert not written.getvalue()  # so soon
    monkeypatch.setattr(showing, "SECONDS", 0)
    assert list(tracked([5, 6], "detecting", console)) == [5, 6]
    assert written.getvalue().splitlines() == ["detecting  1/2", "detecting  2/2"]


def test_items_of_unknown_number_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(showing, "SECONDS", 0)
    for terminal in (False, True):
        written = io.StringIO()
        console = Console(file=written, width=160, force_terminal=terminal)
        assert list(tracked(iter([5, 6]), "detecting", console)) == [5, 6]
        told = written.getvalue()
        assert "2/?" in told if terminal else told.splitlines() == ["detecting  1", "detecting  2"]
