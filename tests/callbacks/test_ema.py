import math

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer

from detectors.callbacks.ema import EMA


class Counting(LightningModule):
    """Its weight is 1, 2, 3 ... after each step, its batch counter likewise."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        self.count += 1
        return -self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def averaged(ema: EMA, steps: int) -> Counting:
    module = Counting()
    trainer(ema, steps).fit(module, torch.utils.data.DataLoader(torch.zeros(steps, 1)))
    return module


def trainer(ema: EMA, steps: int) -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_steps=steps,
        callbacks=[ema],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )


def test_what_is_loaded_after_training_is_evaluated() -> None:
    """The best checkpoint for one; in its place Lightning would evaluate the last average."""
    seen: list[float] = []

    class Seeing(Counting):
        def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
            seen.append(float(self.weight))

    module, runs = Seeing(), trainer(EMA(decay=0.0), 2)
    pictures = torch.utils.data.DataLoader(torch.zeros(2, 1))
    runs.fit(module, pictures)
    assert module.weight == 2
    module.load_state_dict({"weight": torch.tensor([7.0]), "count": torch.tensor(1)})
    runs.validate(module, pictures, verbose=False)
    assert seen == [7.0, 7.0]
    assert module.weight == 7


def test_average_by_hand() -> None:
    # The first update copies 1; the second decays by 2/11, the third by 0.2, which is below 3/12.
    second = 1 * 2 / 11 + 2 * 9 / 11
    third = second * 0.2 + 3 * 0.8
    module = averaged(EMA(decay=0.2), 3)
    torch.testing.assert_close(module.weight.detach(), torch.tensor([third]))


def test_ramp_by_hand() -> None:
    """The first update copies, the second and third decay by YOLOX's rule with n = 2 and 3."""
    decays = [0.9 * (1 - math.exp(-n / 4)) for n in (2, 3)]
    second = 1 * decays[0] + 2 * (1 - decays[0])
    third = second * decays[1] + 3 * (1 - decays[1])
    module = averaged(EMA(decay=0.9, ramp=4), 3)
    torch.testing.assert_close(module.weight.detach(), torch.tensor([third]))


def test_counters_are_copied() -> None:
    assert averaged(EMA(decay=0.9), 3).count == 3


def test_update_every_second_step() -> None:
    module = averaged(EMA(decay=0.0, every=2), 5)
    assert module.weight == 4


@pytest.mark.parametrize("settings", [{"decay": 1.0}, {"decay": -0.1}, {"every": 0}])
def test_impossible_settings_are_refused(settings: dict) -> None:
    with pytest.raises(ValueError, match="expected"):
        EMA(**settings)
