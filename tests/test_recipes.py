"""Every recipe of conf/experiment takes two steps and validates, on small pictures."""

import os
from pathlib import Path

import pytest

from detectors.__main__ import CONF
from detectors.commands.composition import compose
from detectors.commands.train import assemble

RECIPES = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
BRIEFLY = [
    "size=small",
    "image_size=96",
    "device=cpu",
    "data.batch_size=2",
    "data.num_workers=0",
    "trainer.max_epochs=1",
    "trainer.check_val_every_n_epoch=1",
    "trainer.limit_train_batches=2",
    "trainer.limit_val_batches=1",
    "schedule.warmup.length=0.5",
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_takes_two_steps(recipe: str, tmp_path: Path) -> None:
    cfg = compose([f"experiment={recipe}", *BRIEFLY, f"run_dir={tmp_path}"])
    if "$DETECTORS_DATA" in str(cfg.data) and "DETECTORS_DATA" not in os.environ:
        pytest.skip("DETECTORS_DATA is not set: this recipe trains on real images")
    module, data, trainer = assemble(cfg)
    trainer.fit(module, datamodule=data)
    assert trainer.global_step == 2
    assert trainer.callback_metrics["train/loss"].isfinite()
    assert "val/AP" in trainer.callback_metrics
