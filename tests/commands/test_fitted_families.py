"""Every fitted family is trained, evaluated and described from the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = {
    "viola_jones": "depth=1 features=200 objects=20 others=40 stumps=3",
    "dpm": "components=1 parts=2 side=3 interval=2 objects=6 pictures=3 roots=1 moves=1 least=600",
}


@pytest.mark.slow
@pytest.mark.parametrize("model", SMALL)
def test_a_run_ends_with_metrics_that_a_checkpoint_gives_again(
    model: str, detectors: Callable[..., None], tmp_path: Path
) -> None:
    words = [f"part.fitted.{word}" for word in SMALL[model].split()]
    data = ["data=scenes_easy", "device=cpu", "image_size=96", "data.train.read.count=6"]
    data += ["data.val.count=3", "data.batch_size=2", "data.num_workers=0"]
    detectors(tmp_path, "show", f"model={model}", *words)
    detectors(tmp_path, "train", f"model={model}", *words, *data, "hydra.run.dir=run")
    file = f"ckpt_path={tmp_path}/run/checkpoints/last.ckpt"
    detectors(tmp_path, "evaluate", file, "device=cpu", "hydra.run.dir=again")
    first, again = (
        json.loads((tmp_path / folder / "metrics.json").read_text()) for folder in ("run", "again")
    )
    assert first == again
    assert json.loads((tmp_path / "run" / "run.json").read_text())["state"] == "done"
