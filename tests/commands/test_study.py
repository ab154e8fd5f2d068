"""`detectors study` plans, runs what is missing, and tells how it stands."""

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from detectors.studies.cells import Planner
from detectors.studies.keys import code_hashes
from detectors.studies.store import Store, read_record, write_record
from tests.config.test_startup import imported
from tests.studies.test_execute import FAKE

MINE = """# @package study
base: [model=fcos, size=small, image_size=96, device=cpu]
switches: {mish: act=mish}
seeds: [1, 2]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a study of the user's, whose runs take milliseconds."""
    (tmp_path / "conf" / "study").mkdir(parents=True)
    (tmp_path / "conf" / "study" / "mine.yaml").write_text(MINE)
    monkeypatch.setattr("detectors.studies.execute.TRAIN", FAKE)
    monkeypatch.setattr(Planner, "_try", lambda planner, variants: None)
    return tmp_path


WORDS = ("--config-dir", "conf", "study=mine", "threads=1")


def exits(detectors: Callable[..., None], here: Path, *words: str) -> object:
    with pytest.raises(SystemExit) as stop:
        detectors(here, "study", *words)
    return stop.value.code


def test_a_study_is_run_once(
    here: Path, detectors: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    detectors(here, "study", "plan", *WORDS)
    assert "4 runs: 4 missing" in capsys.readouterr().out
    assert exits(detectors, here, "run", *WORDS) == 0
    lives = (here / "runs" / "store" / "lives.txt").read_text()
    assert len(lives.splitlines()) == 4
    capsys.readouterr()
    assert exits(detectors, here, *WORDS, "do=run", "jobs=2") == 0
    assert "starts" not in capsys.readouterr().out
    assert (here / "runs" / "store" / "lives.txt").read_text() == lives
    detectors(here, "study", "status", *WORDS)
    told = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in told] == [
        f"{variant}, seed {seed}" for seed in (1, 2) for variant in ("plain", "mish")
    ]
    assert "done, AP 10.0" in told[0]
    kept = json.loads((here / "runs" / "studies" / "mine" / "cells.json").read_text())
    assert {row["state"] for row in kept["runs"]} == {"done"}
    record = read_record(here / "runs" / "store" / kept["runs"][1]["key"])
    assert record["tracked_as"] == ["mine", "mish/1"]


def test_threads_of_other_runs_are_kept(
    here: Path, detectors: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    exits(detectors, here, "run", *WORDS, "study.seeds=[1]")
    assert exits(detectors, here, "run", *WORDS[:-1], "threads=2") == 1
    assert "runs of this study have used 1 threads" in capsys.readouterr().err


def test_a_study_with_failures_exits_with_one(
    here: Path, detectors: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    extra = "+study.switches.nonsense='part.nonsense=3'"
    assert exits(detectors, here, "run", *WORDS, extra) == 1
    told = capsys.readouterr().out
    assert "nonsense is refused: " in told
    assert "4 of 4 runs have ended, 0 failed" in told


def test_two_folders_of_configs_serve_one_study(
    here: Path, detectors: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "parts" / "act").mkdir(parents=True)
    own = "# @package part.act\n_target_: torch.nn.SiLU\n_partial_: true\n"
    (here / "parts" / "act" / "own.yaml").write_text(own)
    both = (*WORDS, f"hydra.searchpath=[file://{here / 'parts'}]")
    assert exits(detectors, here, "run", *both, "study.base=['model=fcos','act=own']") == 0
    told = capsys.readouterr().out
    assert "4 of 4 runs have ended, 0 failed" in told
    assert f"hydra.searchpath=[file://{here / 'parts'}]" in told.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("pln", *WORDS), "Did you mean 'plan'?"),
        ((*WORDS, "pln"), "Did you mean 'plan'?"),  # wherever it stands
        (("plan", *WORDS, "run"), "run: expected KEY=VALUE."),
        (("plan", "aa"), "aa: expected KEY=VALUE. Did you mean 'study=aa'?"),
        (("plan", *WORDS, "--config-dir=nowhere"), "nowhere: no such folder of configs"),
        (("plan",), "study has no value: add study=NAME"),
        (("plan", "study=exmple"), "Did you mean 'example'?"),
        (("plan", *WORDS, "study.metrc=AP"), "Did you mean 'metric'?"),
        (("plan", *WORDS, "stor=x"), "Did you mean 'store'?"),
        (("plan", *WORDS, "study.select=best"), "study.select: best takes the epoch"),
        (("plan", *WORDS, "executor=slrm"), "Did you mean 'slurm'?"),
        (("plan", *WORDS, "import=nothing"), "import=nothing: no run.json below it"),
        (("run", *WORDS, "study.base=['part.nonsense=3']"), "the baseline is refused"),
        (("run", *WORDS, "cluster={partition: gpu}"), "executor=local has no settings"),
        (("status", "folder=nothing"), "folder=FOLDER alone is for report, verify"),
        (("verify", "folder=nothing"), "nothing is no folder of a study"),
        (("compare",), "name the folders of finished runs, or of a sweep"),
    ],
)
def test_mistakes_are_told_in_one_line(
    here: Path,
    detectors: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    told: str,
) -> None:
    assert exits(detectors, here, *words) == 1
    message = capsys.readouterr().err
    assert told in message
    assert message.count("\n") == 1


def test_status_of_sixty_runs_takes_no_torch_and_three_seconds(tmp_path: Path) -> None:
    (tmp_path / "conf" / "study").mkdir(parents=True)
    (tmp_path / "conf" / "study" / "mine.yaml").write_text(MINE.replace("[1, 2]", "30"))
    line = "study --config-dir conf status study=mine"  # flags may stand anywhere
    imported(tmp_path, line)
    known = json.loads((tmp_path / "runs" / "studies" / "mine" / "composed.json").read_text())
    keys = [key for one in known["known"].values() for key in one["keys"].values()]
    assert len(keys) == 60
    code, store = code_hashes({"detectors"}), tmp_path / "runs" / "store"
    for key in keys:
        write_record(store / key, {"state": "done", "code": code, "metrics": {"AP": 0.5}})
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    modules, errors = imported(tmp_path, line)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert errors == ""
    assert "torch" not in modules
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
    assert Store(store).run(keys[0]).state == "done"


@pytest.mark.slow
def test_a_study_of_real_runs_takes_those_of_a_sweep_and_runs_the_rest_once(
    detectors: Callable[..., None], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """With trainings of seconds: keys agree with those of `train`, and nothing is run twice."""
    words = [
        *("model=yolov3_tiny", "size=small", "image_size=96", "device=cpu", "data=scenes_easy"),
        *("data.train.read.count=16", "data.val.count=6", "trainer.max_epochs=1"),
    ]
    (tmp_path / "conf" / "study").mkdir(parents=True)
    node = {"base": words, "variants": {"a": [], "b": ["optimizer.lr=0.01"]}, "seeds": [1, 2]}
    (tmp_path / "conf" / "study" / "real.yaml").write_text(
        f"# @package study\n{json.dumps(node)}\n"
    )
    asked = ("--config-dir", "conf", "study=real", "threads=1")
    detectors(tmp_path, "train", *words, "select=last", "seed=1", "hydra.run.dir=runs/sweep/0")
    detectors(tmp_path, "study", "status", *asked, "import=runs/sweep")
    assert "1: done, AP" in capfd.readouterr().out
    assert exits(detectors, tmp_path, "run", *asked) == 0
    told = capfd.readouterr().out
    assert told.count("starts") == 3
    folders = [f for f in (tmp_path / "runs" / "store").iterdir() if f.is_dir()]
    assert len(folders) == 4
    for folder in folders:
        record = read_record(folder)
        assert (record["state"], record["key"]) == ("done", folder.name)
        assert record["threads"] == 1
    assert exits(detectors, tmp_path, "run", *asked) == 0
    assert "starts" not in capfd.readouterr().out
