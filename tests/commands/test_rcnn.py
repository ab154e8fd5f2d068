"""One command runs all stages of R-CNN."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

WORDS = [
    *("model=rcnn", "size=small", "data=scenes_easy", "device=cpu", "image_size=96"),
    *("data.train.read.count=8", "data.val.count=2", "data.batch_size=2", "data.num_workers=0"),
    *("part.fitted.iterations=3", "part.fitted.most=20", "part.fitted.positive=4"),
    *("part.fitted.background=4", "part.fitted.network={side:67,hidden:16}"),
    "part.fitted.network.convolutions.widths=[8,8,8,8,8]",
]


def test_all_stages_in_one_run(detectors: Callable[..., None], tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("skimage")
    detectors(tmp_path, "train", *WORDS, "hydra.run.dir=run", "latency=false")
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    stages = ["proposals", "network", "features", "machines", "boxes"]
    assert list(told["stages"]) == stages
    log = (tmp_path / "run" / "log.txt").read_text()
    for number, stage in enumerate(stages, 1):
        assert f"stage {number}/5 {stage}: " in log
    assert json.loads((tmp_path / "run" / "detections.json").read_text())
    assert not (tmp_path / "run" / "stages").exists()
    file = f"ckpt_path={tmp_path / 'run/checkpoints/last.ckpt'}"
    detectors(tmp_path, "evaluate", file, "device=cpu", "hydra.run.dir=again")
    again = json.loads((tmp_path / "again" / "metrics.json").read_text())
    assert again == json.loads((tmp_path / "run" / "metrics.json").read_text())
