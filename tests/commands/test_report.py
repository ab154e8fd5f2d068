"""`detectors report`, and the report that training writes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

RUN = Callable[..., None]


def test_training_writes_a_report_and_the_command_writes_the_same(
    detectors: RUN, tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detectors(tmp_path, "train", "model=fcos", *tiny, "report=true", "hydra.run.dir=run")
    written = (tmp_path / "run" / "report.html").read_text()
    assert "the word trainer.max_epochs=1" in written
    assert "data/scenes_easy.yaml" in written
    assert "boxes alone" not in written  # generated pictures are made again
    capsys.readouterr()
    detectors(tmp_path, "report", "run=run", "into=again.html")
    assert capsys.readouterr().out.strip() == "again.html"
    assert (tmp_path / "again.html").read_text() == written


def test_a_report_can_be_left_out(trained: Path) -> None:
    assert not (trained / "report.html").exists()


def test_of_an_evaluation_what_is_not_known_is_told(
    detectors: RUN, trained: Path, tmp_path: Path
) -> None:
    best = trained / "checkpoints" / "best.ckpt"
    words = ["device=cpu", "trainer.limit_val_batches=1", "hydra.run.dir=out"]
    detectors(tmp_path, "evaluate", f"ckpt_path={best}", *words)
    detectors(tmp_path, "report", "run=out")
    text = (tmp_path / "out" / "report.html").read_text()
    assert "Evaluated on val." in text
    assert "the folder of an evaluation has its own words alone" in text


def test_several_runs(detectors: RUN, trained: Path, tmp_path: Path) -> None:
    detectors(tmp_path, "report", f"run=[{trained},{trained}]")
    text = (tmp_path / "side_by_side.html").read_text()
    assert re.search(r"names no winner", text)
    assert list(tmp_path.iterdir()) == [tmp_path / "side_by_side.html"]


@pytest.mark.parametrize(
    ("words", "told"),
    [(["run=nowhere"], "is no folder of a run"), (["run=[]"], "name the folder of a run")],
)
def test_mistakes_are_told(
    words: list[str],
    told: str,
    detectors: RUN,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        detectors(tmp_path, "report", *words)
    assert told in capsys.readouterr().err
