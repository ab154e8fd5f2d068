"""Training ends when validations no longer become better, and stays ended."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from detectors.callbacks.early_stopping import PatienceStop


class Scored(LightningModule):
    """Its AP is that of a list, one epoch after the other."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.weight, self.scores = torch.nn.Parameter(torch.ones(1)), scores

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.weight.sum()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/AP", self.scores[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def trainer(folder: Path, patience: int = 2, **settings: object) -> Trainer:
    last = ModelCheckpoint(
        folder, "last", save_on_train_epoch_end=True, enable_version_counter=False
    )
    given = {
        "accelerator": "cpu",
        "max_epochs": 9,
        "num_sanity_val_steps": 0,
        "callbacks": [last, PatienceStop("val/AP", patience)],
        "logger": False,
        "default_root_dir": folder,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**{**given, **settings})  # type: ignore[arg-type]


def steps(trainer: Trainer, scores: list[float], **resumed: object) -> int:
    loader = torch.utils.data.DataLoader(torch.zeros(1, 1))
    trainer.fit(Scored(scores), loader, loader, **resumed)  # type: ignore[arg-type]
    return trainer.global_step


SCORES = [0.1, 0.3, 0.3, 0.2, 0.9, 0.9, 0.9, 0.9, 0.9]  # the third and fourth are no better


def test_it_ends_after_the_patience_and_stays_ended(tmp_path: Path) -> None:
    assert steps(trainer(tmp_path), SCORES) == 4
    again = {"ckpt_path": tmp_path / "last.ckpt", "weights_only": True}
    assert steps(trainer(tmp_path), SCORES, **again) == 4


def test_a_resumed_run_remembers_how_long_it_has_waited(tmp_path: Path) -> None:
    assert steps(trainer(tmp_path, max_epochs=3), SCORES) == 3
    again = {"ckpt_path": tmp_path / "last.ckpt", "weights_only": True}
    assert steps(trainer(tmp_path), SCORES, **again) == 4


@pytest.mark.parametrize(
    ("patience", "settings", "refused"),
    [
        (8, {}, True),
        (7, {}, False),
        (2, {"check_val_every_n_epoch": 3}, True),
        (3, {"check_val_every_n_epoch": 3, "val_check_interval": 0.5}, False),
        (99, {"max_epochs": -1, "max_steps": 9}, False),
    ],
)
def test_a_patience_longer_than_the_run_is_refused(
    patience: int, settings: dict, refused: bool, tmp_path: Path
) -> None:
    asked = trainer(tmp_path, patience, **settings)
    stop = next(c for c in asked.callbacks if isinstance(c, PatienceStop))  # type: ignore[attr-defined]
    if refused:
        with pytest.raises(ValueError, match=f"early_stopping.patience={patience}: the run has"):
            stop.check(asked)
    else:
        stop.check(asked)
