"""A cfg file of darknet is trained, and its checkpoint is measured and asked without the file."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.darknet.cfg_files import FILES

STEPS = [
    *("data=scenes_easy", "scenes.layout.num_classes=3", "data.num_workers=0", "data.batch_size=2"),
    *("device=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=2"),
    *("trainer.limit_val_batches=2", "trainer.num_sanity_val_steps=0", "~callback.pictures"),
]


ALIKE = {"detection", "mixed"}  # networks of theirs learn in tests/darknet/test_family.py


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ALIKE)) for n in FILES]
)
def test_two_steps_then_the_file_is_gone(
    name: str, detectors: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    file = tmp_path / "mine.cfg"
    file.write_text(FILES[name])
    words = ["model=darknet", "part.cfg=mine.cfg", *STEPS]
    detectors(tmp_path, "train", *words, "hydra.run.dir=run")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert log.count("mine.cfg: not used, settings of the run count instead: [net]") == 1
    file.unlink()
    checkpoint = "ckpt_path=run/checkpoints/last.ckpt"
    detectors(tmp_path, "evaluate", checkpoint, "device=cpu", "hydra.run.dir=measured")
    assert (tmp_path / "measured" / "metrics.json").is_file()
    pixels = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    detectors(tmp_path, "predict", checkpoint, "source=a.png", "device=cpu", "hydra.run.dir=found")
    assert (tmp_path / "found" / "detections.json").is_file()


def test_data_of_other_classes_are_refused(
    detectors: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / "mine.cfg").write_text(FILES["tiny"])
    words = [word for word in STEPS if not word.startswith("scenes.")]
    with pytest.raises(SystemExit):
        detectors(tmp_path, "train", "model=darknet", "part.cfg=mine.cfg", *words)
    told = capfd.readouterr().err
    assert "mine.cfg has classes=3, but the data have 4: write that into its detection" in told


def test_a_refusal_names_file_and_line(
    detectors: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    (tmp_path / "mine.cfg").write_text(FILES["tiny"].replace("[upsample]", "[crop]"))
    with pytest.raises(SystemExit):
        detectors(tmp_path, "train", "model=darknet", "part.cfg=mine.cfg", *STEPS)
    line = FILES["tiny"].splitlines().index("[upsample]") + 1
    told = capfd.readouterr().err
    assert told.startswith(f"part.cfg=mine.cfg: line {line} of the cfg file: [crop] is not supp")
