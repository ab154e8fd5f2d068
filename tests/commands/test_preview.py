"""The contact sheet shows what training gets."""

import numpy as np
import pytest
from PIL import Image

from detectors.commands.preview import first_samples
from detectors.config.compose import compose
from detectors.config.instantiate import instantiate

WORDS = ["data.train.read.count=20", "data.batch_size=4", "image_size=64", "trick=[mosaic]"]


def test_a_sheet_is_written(detectors, tmp_path) -> None:
    file = tmp_path / "folder" / "sheet.png"
    detectors(tmp_path, "preview", *WORDS, "count=5", "columns=3", f"file={file}")
    with Image.open(file) as sheet:
        assert sheet.size == (3 * 70, 2 * 70)


def test_the_pictures_are_those_of_the_first_batches(tmp_path) -> None:
    cfg = compose([*WORDS, f"run_dir={tmp_path}"], "preview")
    samples = first_samples(instantiate(cfg, "data"), epoch=2, count=6)
    loader = instantiate(cfg, "data").train_dataloader()
    loader.sampler.set_epoch(2)
    images = np.concatenate([batch.images.permute(0, 2, 3, 1).numpy() for batch in loader])
    np.testing.assert_array_equal(np.stack([sample.image for sample in samples]), images[:6])


def test_nothing_to_show_is_refused(detectors, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        detectors(tmp_path, "preview", "count=0")
    assert "count: found 0" in capsys.readouterr().err
