"""What `detectors predict` reads, and what it refuses before it works."""

import json

import pytest

from tests.small_pictures import write_picture


def test_names_with_signs_and_lists_are_read_and_a_used_folder_is_refused(
    trained, detectors, tmp_path, capsys
) -> None:
    write_picture(tmp_path / "set [1]" / "a.png")
    write_picture(tmp_path / "set [1]" / "b.jpg")
    words = f"ckpt_path={trained / 'checkpoints' / 'last.ckpt'}", "device=cpu", "batch_size=2"
    source = "source=['set [1]/*.png','set [1]/b.jpg']"
    detectors(tmp_path, "predict", *words, source, "hydra.run.dir=runs/found")
    images = json.loads((tmp_path / "runs/found/images.json").read_text())
    assert [image["file_name"] for image in images] == ["set [1]/a.png", "set [1]/b.jpg"]
    recorded = (tmp_path / "runs/found/overrides.txt").read_bytes()
    with pytest.raises(SystemExit):
        detectors(tmp_path, "predict", *words, source, "hydra.run.dir=runs/found")
    assert "pictures of an earlier run: choose another" in capsys.readouterr().err
    assert (tmp_path / "runs/found/overrides.txt").read_bytes() == recorded
    with pytest.raises(SystemExit):
        detectors(tmp_path, "predict", *words, "source=0", "hydra.run.dir=runs/camera")
    assert "0: no picture there" in capsys.readouterr().err
