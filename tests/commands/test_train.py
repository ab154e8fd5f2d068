import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch


def test_run_folder_tells_all(trained: Path) -> None:
    files = {file.relative_to(trained).as_posix() for file in trained.rglob("*") if file.is_file()}
    expected = (
        "config.yaml overrides.txt environment.json run.json log.txt metrics.csv metrics.json"
    )
    expected += " detections.json truth.json images.json curves.png"
    expected += " checkpoints/best.ckpt checkpoints/last.ckpt"
    assert set(expected.split()) <= files
    assert len([name for name in files if name.startswith("pictures/")]) == 2
    environment = json.loads((trained / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    with (trained / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0"]
    assert {"train/loss", "train/lr", "val/AP"} <= set(rows[0])


def test_resume_goes_on_in_the_same_table(
    trained: Path, detectors: Callable[..., None], tiny: list[str], tmp_path: Path
) -> None:
    folder = f"hydra.run.dir={tmp_path / 'second'}"
    words = ["model=fcos", *tiny, "trick=[ema]", "trainer.max_epochs=2"]
    words.append(f"ckpt_path={trained / 'checkpoints' / 'last.ckpt'}")
    detectors(tmp_path, "train", *words, folder, "~callback.pictures")
    table = (tmp_path / "second" / "metrics.csv").read_text().splitlines()
    assert len(table) == 3
    assert table[1] == (trained / "metrics.csv").read_text().splitlines()[1]
    assert not (tmp_path / "second" / "pictures").exists()


def test_a_refused_resume_says_why_and_touches_no_file_of_the_run(
    trained: Path,
    detectors: Callable[..., None],
    tiny: list[str],
    capsys: pytest.CaptureFixture,
) -> None:
    names = ("config.yaml", "overrides.txt", "environment.json", "checkpoints/last.ckpt")
    before = {name: (trained / name).stat().st_mtime_ns for name in names}
    words = [*tiny, "hydra.run.dir=runs/first", "ckpt_path=last"]
    for changed, told in (
        (["model=fcos", "trick=[ema]", "optimizer.lr=0.5"], "and is 0.5. Take that back"),
        (["model=fcos"], "callback.ema._target_ was detectors.callbacks.ema.EMA and is not there"),
        (["model=retinanet", "trick=[ema]"], "more"),
    ):
        with pytest.raises(SystemExit):
            detectors(trained.parents[1], "train", *words, *changed)
        message = capsys.readouterr().err
        assert "is of a run with other words" in message
        assert told in message
    assert before == {name: (trained / name).stat().st_mtime_ns for name in names}


def test_sweep_has_a_folder_and_an_offline_wandb_run_for_each_job(
    detectors: Callable[..., None], tiny: list[str], tmp_path: Path
) -> None:
    words = ["model=fcos", "seed=1,2", *tiny, "hydra.sweep.dir=sweep", "logger=[csv,wandb]"]
    detectors(tmp_path, "train", "-m", *words)
    for job in ("0", "1"):
        folder = tmp_path / "sweep" / job
        assert json.loads((folder / "metrics.json").read_text())["val/AP"] >= 0
        assert json.loads((folder / "environment.json").read_text())["seed"] == int(job) + 1
        (offline,) = (folder / "wandb").glob("offline-run-*")
        tracked = json.loads((folder / "trackers.json").read_text())
        assert offline.name.endswith(f"-{tracked['wandb']}")


def test_evaluate_of_the_checkpoint_alone_repeats_the_metrics(
    trained: Path, detectors: Callable[..., None], tmp_path: Path
) -> None:
    words = ["hydra.run.dir=out", "device=cpu", "trainer.limit_val_batches=2"]
    best = trained / "checkpoints" / "best.ckpt"
    detectors(tmp_path, "evaluate", f"ckpt_path={best}", *words)
    again = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert again == json.loads((trained / "metrics.json").read_text())


def test_another_run_starts_from_the_averaged_weights(
    trained: Path, detectors: Callable[..., None], tiny: list[str], tmp_path: Path
) -> None:
    best = trained / "checkpoints" / "best.ckpt"
    words = [f"weights={best}", "optimizer.lr=1e-30", "trainer.limit_train_batches=1"]
    words += ["hydra.run.dir=out", "~callback.pictures", "~callback.table"]
    detectors(tmp_path, "train", "model=fcos", *tiny, *words)
    assert "tensors; all 4 classes" in (tmp_path / "out" / "log.txt").read_text()
    file = tmp_path / "out" / "checkpoints" / "last.ckpt"
    found, expected = (torch.load(f, weights_only=True)["state_dict"] for f in (file, best))
    parameters = [name for name in expected if name.endswith((".weight", ".bias"))]
    assert all(torch.equal(found[name], expected[name]) for name in parameters)


def test_evaluate_refuses_data_with_other_classes(
    trained: Path, detectors: Callable[..., None], capsys: pytest.CaptureFixture
) -> None:
    best = trained / "checkpoints" / "best.ckpt"
    with pytest.raises(SystemExit):
        detectors(trained.parents[1], "evaluate", f"ckpt_path={best}", "data=coco")
    assert "knows 4 classes, the data have 80" in capsys.readouterr().err


def test_predict_draws_and_writes_coco_results(
    trained: Path, detectors: Callable[..., None], tmp_path: Path
) -> None:
    source = f"source={trained / 'pictures'}"
    words = ["score_threshold=0", "hydra.run.dir=out", "device=cpu"]
    best = trained / "checkpoints" / "best.ckpt"
    detectors(tmp_path, "predict", f"ckpt_path={best}", source, *words)
    images = json.loads((tmp_path / "out" / "images.json").read_text())
    found = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert len(images) == len(list((tmp_path / "out" / "pictures").iterdir())) == 2
    assert {row["image_id"] for row in found} <= {image["id"] for image in images}
    named = json.loads((tmp_path / "out" / "categories.json").read_text())
    assert [row["name"] for row in named] == torch.load(best, weights_only=True)["classes"]
    assert {row["category_id"] for row in found} <= {category["id"] for category in named}


def test_assign_reads_the_trained_detector(
    trained: Path,
    detectors: Callable[..., None],
    tiny: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    words = [f"ckpt_path={trained / 'checkpoints' / 'best.ckpt'}", *tiny, "compare=[sim_ota]"]
    detectors(tmp_path, "assign", "model=fcos", *words, "count=2", "hydra.run.dir=out")
    assert (tmp_path / "out" / "assign.png").is_file()
    with pytest.raises(SystemExit):
        detectors(tmp_path, "assign", "model=retinanet", *words)
    assert "holds another model" in capsys.readouterr().err


def test_part_of_ones_own_beside_the_package(
    detectors: Callable[..., None],
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
) -> None:
    (tmp_path / "my_neck.py").write_text(
        "from detectors.necks.fpn import FPN\n"
        "def thin(specs, channels):\n"
        "    print('thin neck', channels)\n"
        "    return FPN(specs, channels)\n"
    )
    (tmp_path / "parts" / "neck").mkdir(parents=True)
    (tmp_path / "parts" / "neck" / "mine.yaml").write_text(
        "# @package part.neck\n_target_: my_neck.thin\n_partial_: true\nchannels: 16\n"
    )
    words = ["model=retinanet", "size=small", "neck=mine", "part.neck.channels=24"]
    words += ["part.priors.sizes=[[32],[64],[128]]", "image_size=64"]
    detectors(tmp_path, "show", "--config-dir", "parts", *words)
    shown = capsys.readouterr().out
    assert "thin neck 24" in shown
    assert "my_neck.py" in shown
