"""A run that is ended early keeps the plan of the whole one."""

from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from detectors.callbacks.brief import Brief


class Counting(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.validated: list[int] = []  # steps that were made by then

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return self.weight.sum()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.validated.append(self.trainer.global_step)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(("steps", "accumulated", "validated"), [(1, 1, [1]), (3, 2, [2, 3])])
def test_training_ends_after_whole_steps_with_a_validation(
    steps: int, accumulated: int, validated: list[int], tmp_path: Path
) -> None:
    module, loader = Counting(), torch.utils.data.DataLoader(torch.zeros(4, 1))
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=9,
        accumulate_grad_batches=accumulated,
        limit_val_batches=1,
        num_sanity_val_steps=0,
        callbacks=[Brief(steps)],
        logger=False,
        default_root_dir=tmp_path,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, loader, loader)
    assert trainer.global_step == steps
    assert module.validated == validated
    assert trainer.max_epochs == 9
