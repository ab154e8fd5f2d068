"""A run that is stopped early is done, with the epochs that it made, also when it is resumed."""

import json
from collections.abc import Callable
from pathlib import Path

WORDS = ["model=yolov3_tiny", "size=small", "image_size=64", "device=cpu", "precision=32-true"]
WORDS += ["data=scenes_easy", "scenes.layout.side=64", "data.train.read.count=4"]
WORDS += ["data.val.count=3", "data.batch_size=2", "data.num_workers=0", "~callback.pictures"]
WORDS += ["callback=[default,early_stopping]", "callback.early_stopping.patience=1"]
WORDS += ["trainer.max_epochs=4", "latency=false", "hydra.run.dir=run"]


def test_a_run_that_learns_nothing_ends_early_and_is_done(
    detectors: Callable[..., None], tmp_path: Path
) -> None:
    words = [*WORDS, "optimizer.lr=1e-30", "norm=frozen", "objective=val/AP75"]
    detectors(tmp_path, "train", *words)
    found = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (found["state"], found["epochs"], found["max_epochs"]) == ("done", 2, 4)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "the schedule of the learning rate is planned for all 4 epochs" in log
    assert "stopped early after epoch 2 of 4, best val/AP75" in log
    detectors(tmp_path, "train", *words, "ckpt_path=last")
    again = json.loads((tmp_path / "run" / "run.json").read_text())
    assert (again["state"], again["epochs"], again["steps"]) == ("done", 2, found["steps"])
    assert again["metrics"] == found["metrics"]
    assert "had been stopped early" in (tmp_path / "run" / "log.txt").read_text()
