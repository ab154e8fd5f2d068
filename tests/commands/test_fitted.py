"""A model that is fitted stage by stage has the run of any other."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

CONF = Path(__file__).parents[1] / "fitted" / "conf"
SEARCH = f"hydra.searchpath=[file://{CONF}]"
WORDS = [
    *(SEARCH, "model=blobs", "data=scenes_easy", "device=cpu", "image_size=96"),
    *("data.train.read.count=12", "data.val.count=4", "data.batch_size=2", "data.num_workers=0"),
]
Call = Callable[..., None]


@pytest.fixture(scope="module")
def run(detectors: Call, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    here = tmp_path_factory.mktemp("fitted")
    detectors(here, "train", *WORDS, "report=true", "hydra.run.dir=runs/first")
    return here / "runs" / "first"


def record(folder: Path) -> dict:
    return json.loads((folder / "run.json").read_text())


def test_a_run_tells_what_it_was_and_what_it_cost(run: Path) -> None:
    told = record(run)
    assert (told["state"], told["model"], told["max_epochs"]) == ("done", "blobs", None)
    assert (told["steps"], told["epochs"], told["images_seen"]) == (0, 0, 12)
    assert (told["precision"], told["devices"]) == ("32-true", 1)
    assert told["parameters"] == 3 * 4 + 1  # colours, side
    assert list(told["stages"]) == ["colours", "side"]
    assert told["train_seconds"] == sum(s["seconds"] for s in told["stages"].values())
    assert told["latency"]["median_ms"] > 0
    assert told["metrics"].keys() == {n.partition("/")[2] for n in metrics(run)}
    log = (run / "log.txt").read_text()
    assert "stage 1/2 colours: boxes " in log
    assert "stage 2/2 side: side " in log
    assert "WARNING" not in log


def metrics(folder: Path) -> dict[str, float]:
    return json.loads((folder / "metrics.json").read_text())


def test_a_run_folder_has_the_files_of_any_run(run: Path) -> None:
    files = ("config.yaml", "detections.json", "truth.json", "images.json", "environment.json")
    for file in (*files, "overrides.txt", "report.html", "checkpoints/last.ckpt"):
        assert (run / file).is_file(), file
    assert json.loads((run / "detections.json").read_text())
    assert list((run / "pictures").iterdir())
    assert not (run / "stages").exists()
    page = (run / "report.html").read_text()
    assert "Fitted in 2 stages" in page


def test_it_is_evaluated_and_predicts_like_any_other(
    run: Path, detectors: Call, tmp_path: Path
) -> None:
    file = f"ckpt_path={run / 'checkpoints/last.ckpt'}"
    trusted = ["device=cpu", "trust=[tests]"]
    detectors(tmp_path, "evaluate", file, *trusted, "hydra.run.dir=again")
    assert metrics(tmp_path / "again") == metrics(run)
    tta = "tta=flip_merged"
    detectors(tmp_path, "evaluate", file, *trusted, tta, "hydra.run.dir=merged")
    Image.new("RGB", (90, 60), (200, 30, 30)).save(tmp_path / "red.png")
    source = ["source=red.png", "score_threshold=0.01", "hydra.run.dir=found"]
    detectors(tmp_path, "predict", file, *trusted, *source)
    assert json.loads((tmp_path / "found" / "detections.json").read_text())
    kept = ["format=safetensors", "file=kept.safetensors", "hydra.run.dir=kept", "trust=[tests]"]
    detectors(tmp_path, "export", file, *kept)
    there = ["ckpt_path=kept.safetensors", *trusted, "hydra.run.dir=third"]
    detectors(tmp_path, "evaluate", *there)
    assert metrics(tmp_path / "third") == metrics(run)


@pytest.mark.parametrize("stage", ["colours", "side"])
def test_a_run_that_is_stopped_goes_on_with_the_stage_in_which_it_was(
    stage: str, run: Path, detectors: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [*WORDS, "hydra.run.dir=run", "ckpt_path=last"]
    monkeypatch.setenv("BLOBS_KILLED_IN", stage)
    with pytest.raises(SystemExit) as stop:
        detectors(tmp_path, "train", *words)
    assert stop.value.code == 128 + 15
    folder = tmp_path / "run"
    assert record(folder)["state"] == "stopped"
    assert f"in stage {1 + (stage == 'side')}, {stage}" in record(folder)["reason"]
    monkeypatch.delenv("BLOBS_KILLED_IN")
    detectors(tmp_path, "train", *words)
    again, first = (torch.load(f / "checkpoints/last.ckpt") for f in (folder, run))
    assert again["state_dict"].keys() == first["state_dict"].keys()
    for name, value in first["state_dict"].items():
        assert torch.equal(again["state_dict"][name], value), name
    assert metrics(folder) == metrics(run)
    log = (folder / "log.txt").read_text()
    assert log.count("stage 1/2 colours:") == 1


def test_a_stopped_run_goes_on_in_another_folder(
    run: Path, detectors: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the files that its stages have written; one that begins anew does not see these."""
    monkeypatch.setenv("BLOBS_KILLED_IN", "side")
    with pytest.raises(SystemExit):
        detectors(tmp_path, "train", *WORDS, "hydra.run.dir=run")
    assert (tmp_path / "run" / "stages" / "boxes.txt").is_file()
    monkeypatch.delenv("BLOBS_KILLED_IN")
    file = "ckpt_path=run/checkpoints/last.ckpt"
    (tmp_path / "other" / "stages").mkdir(parents=True)
    (tmp_path / "other" / "stages" / "old.txt").write_text("of a run before")
    detectors(tmp_path, "train", *WORDS, file, "hydra.run.dir=other")
    assert metrics(tmp_path / "other") == metrics(run)
    (tmp_path / "run" / "stages" / "old.txt").write_text("of a run before")
    detectors(tmp_path, "train", *WORDS, "hydra.run.dir=run")
    assert metrics(tmp_path / "run") == metrics(run)


def test_a_checkpoint_alone_does_not_go_on_with_a_stage_that_needs_files(
    detectors: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setenv("BLOBS_KILLED_IN", "side")
    with pytest.raises(SystemExit):
        detectors(tmp_path, "train", *WORDS, "hydra.run.dir=run")
    monkeypatch.delenv("BLOBS_KILLED_IN")
    shutil.rmtree(tmp_path / "run" / "stages")
    with pytest.raises(SystemExit):
        detectors(tmp_path, "train", *WORDS, "ckpt_path=last", "hydra.run.dir=run")
    assert "boxes.txt is not there: go on in the folder of that run" in capsys.readouterr().err


def test_a_run_that_is_done_is_only_measured_again(
    run: Path, detectors: Call, tmp_path: Path
) -> None:
    shutil.copytree(run, tmp_path / "run")
    detectors(tmp_path, "train", *WORDS, "hydra.run.dir=run", "ckpt_path=last")
    assert metrics(tmp_path / "run") == metrics(run)
    assert record(tmp_path / "run")["stages"] == record(run)["stages"]


def test_a_file_leaves_nothing_to_fit_and_is_not_read_again(
    detectors: Call, tmp_path: Path
) -> None:
    file = tmp_path / "some.npz"
    np.savez(file, colours=np.full((4, 3), 200, np.float32), side=np.array(24.0, np.float32))
    detectors(tmp_path, "train", *WORDS, f"part.fitted.weights={file}", "hydra.run.dir=run")
    told = record(tmp_path / "run")
    assert (told["stages"], told["images_seen"], told["train_seconds"]) == ({}, 0, 0)
    file.unlink()
    words = ["ckpt_path=run/checkpoints/last.ckpt", "device=cpu", "trust=[tests]"]
    detectors(tmp_path, "evaluate", *words, "hydra.run.dir=again")
    assert metrics(tmp_path / "again") == metrics(tmp_path / "run")


def test_hog_is_fitted_and_measured_on_the_test_split(detectors: Call, tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    words = ["model=hog", *WORDS[2:], "data.test=${data.val}", "split=test", "callback=[]"]
    detectors(tmp_path, "train", *words, "part.fitted.least=256", "hydra.run.dir=run")
    told = record(tmp_path / "run")
    assert list(told["stages"]) == ["windows", "first", "hard"]
    assert told["last"]["AP"] == told["metrics"]["AP"]  # here both splits are the same
    assert all(name.startswith("test/") for name in metrics(tmp_path / "run"))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["evaluate", "precision=bf16-mixed"], "float32"),
        (["predict", "source=.", "precision=16-mixed"], "float32"),
        (["export", "file=some.onnx", "format=onnx"], "no graph of operations"),
        (["evaluate", "tta=flip"], "maps of a network"),
    ],
)
def test_what_a_checkpoint_of_such_a_model_cannot_do_is_refused(
    words: list[str],
    reason: str,
    run: Path,
    detectors: Call,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Image.new("RGB", (90, 60)).save(tmp_path / "black.png")
    command, *rest = words
    file = f"ckpt_path={run / 'checkpoints/last.ckpt'}"
    with pytest.raises(SystemExit):
        detectors(tmp_path, command, file, "trust=[tests]", *rest)
    assert reason in capsys.readouterr().err


def test_assigning_is_refused(
    detectors: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        detectors(tmp_path, "assign", *WORDS)
    assert "neither priors nor an assigner" in capsys.readouterr().err


def test_it_is_shown_with_its_size(
    detectors: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    detectors(tmp_path, "show", *WORDS)
    told = capsys.readouterr().out
    assert "colours, side" in told
    assert "13" in told
