"""`detectors search` tries words, goes on after any kill, and claims nothing of what it found."""

import contextlib
import io
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from detectors.studies.search import loop
from tests.studies.search.database import quick_database  # noqa: F401
from tests.studies.test_execute import FAKE

pytest.importorskip("optuna")
MINE = """# @package search
base: [model=fcos, size=small, image_size=96, device=cpu, trainer.max_epochs=4]
space:
  optimizer.lr: {low: 1e-5, high: 1e-1, log: true}
  act: [relu, mish]
trials: 4
startup: 2
prune: {first: 1, keep: 2}
"""
WORDS = ("--config-dir", "conf", "search=mine", "threads=1")
SEARCHES = Path("runs/searches")


class Done(NamedTuple):
    """A search that has ended."""

    here: Path
    told: str


@pytest.fixture(scope="module")
def quick(quick_database: None) -> Iterator[None]:  # noqa: F811
    """Runs take milliseconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("detectors.studies.execute.TRAIN", FAKE)
        patch.setattr(loop, "LOOK", 0.05)
        patch.setattr(loop, "PAUSE", 0.02)
        yield


@pytest.fixture
def here(tmp_path: Path, quick: None) -> Path:
    """A folder with a search of the user's."""
    return with_search(tmp_path)


@pytest.fixture(scope="module")
def done(
    quick: None, tmp_path_factory: pytest.TempPathFactory, detectors: Callable[..., None]
) -> Done:
    """The search in such a folder, run to its end."""
    folder, told = with_search(tmp_path_factory.mktemp("done")), io.StringIO()
    with contextlib.redirect_stdout(told):
        assert searched(detectors, folder) == 0
    return Done(folder, told.getvalue())


def with_search(folder: Path) -> Path:
    (folder / "conf" / "search").mkdir(parents=True)
    (folder / "conf" / "search" / "mine.yaml").write_text(MINE)
    return folder


def searched(detectors: Callable[..., None], here: Path, *words: str) -> object:
    """The exit code."""
    with pytest.raises(SystemExit) as stop:
        detectors(here, "search", *WORDS, *words)
    return stop.value.code


def results(here: Path, name: str = "mine") -> dict[str, Any]:
    return json.loads((here / SEARCHES / name / "results.json").read_text())


def lives(here: Path) -> str:
    return (here / "runs" / "store" / "lives.txt").read_text()


def test_a_search_reports_its_best_with_a_warning(done: Done) -> None:
    found = results(done.here)
    trials = found["trials"]
    assert {row["state"] for row in trials} == {"complete", "pruned"}
    complete = [row for row in trials if row["state"] == "complete"]
    best = max(complete, key=lambda row: row["value"])
    assert found["best"]["number"] == best["number"]
    assert found["best"]["command"] in done.told
    assert f"--config-dir {done.here / 'conf'}" in found["best"]["command"]  # of the words' files
    assert f"optimizer.lr={best['values']['optimizer.lr']}" in found["best"]["words"]
    assert "This is no comparison. The best of 4 trials" in done.told
    assert (done.here / SEARCHES / "mine" / "table.md").read_text() in done.told
    pruned = next(row for row in trials if row["state"] == "pruned")
    assert f"trial {pruned['number']}: not among the best 1 of" in done.told


def test_what_is_found_is_not_searched_again(done: Done, detectors: Callable[..., None]) -> None:
    found, before = results(done.here), lives(done.here)
    assert searched(detectors, done.here) == 0
    assert (results(done.here), lives(done.here)) == (found, before)


def test_another_search_trains_nothing_that_the_store_has(
    done: Done, detectors: Callable[..., None]
) -> None:
    before = lives(done.here)
    assert searched(detectors, done.here, "search.name=again") == 0
    assert results(done.here, "again")["trials"] == results(done.here)["trials"]
    assert lives(done.here) == before


def test_the_study_that_compares_is_one(
    done: Done, detectors: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    line = next(line for line in done.told.splitlines() if "detectors study plan" in line)
    assert "on the test split, which the search has not seen" in done.told
    _, study, _, *words = shlex.split(line)
    assert f"hydra.searchpath=[file://{done.here / 'conf'}]" in words  # where its own parts may be
    detectors(done.here, study, "status", *words, "study.seeds=[1]")
    rows = capsys.readouterr().out.splitlines()
    assert [row.split(":")[0] for row in rows] == ["base, seed 1", "found, seed 1"]


def test_words_that_are_refused_fail_their_trial_alone(
    here: Path, detectors: Callable[..., None]
) -> None:
    assert searched(detectors, here, "+search.space.trick=[[],[ema,ema]]", "search.trials=3") == 0
    trials = results(here)["trials"]
    twice = {row["number"] for row in trials if row["values"]["trick"] == "[ema,ema]"}
    failed = {row["number"]: row["reason"] for row in trials if row["state"] == "failed"}
    assert failed.keys() == twice
    assert "refused: trick=[ema,ema]: ema is chosen twice, leave one" in failed.values()
    assert 0 < len(twice) < len(trials)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("search=minne",), "there is no search=minne. Did you mean 'mine'?"),
        ((), "search has no value: add search=NAME"),
        (("search=mine", "search.trails=3"), "Did you mean 'trials'?"),
        (
            ("search=mine", "search.base=['modle=fcos']"),
            "there is no 'modle'. Did you mean 'model'?",
        ),
        (("search=mine", "search.space.act=[relu,mishh]"), "there is no act=mishh"),
        (
            ("search=mine", "+search.space.optimiser=[1,2]"),
            "there is no 'optimiser'. Did you mean 'optimizer'?",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(
    words: tuple[str, ...],
    told: str,
    here: Path,
    detectors: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as stop:
        detectors(here, "search", "--config-dir", "conf", *words)
    error = capsys.readouterr().err
    assert stop.value.code == 1
    assert told in error
    assert len(error.strip().splitlines()) == 1


KILLED = """
import sys
sys.path.insert(0, {root!r})
from detectors.studies import execute
execute.TRAIN = {fake!r}
from detectors.__main__ import main
sys.argv = ["detectors", "search", *{words!r}]
try:
    main()
finally:
    assert "torch" not in sys.modules
"""


@pytest.mark.slow
def test_kills_at_any_time_change_nothing_of_what_is_found(here: Path) -> None:
    root, words = str(Path(__file__).parents[2]), [*WORDS]
    code = KILLED.format(root=root, fake=FAKE, words=words)

    def started(folder: Path) -> "subprocess.Popen[bytes]":
        folder.mkdir(exist_ok=True)
        if not (folder / "conf").exists():
            (folder / "conf").symlink_to(here / "conf")
        command = [sys.executable, "-u", "-c", code]
        return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE)

    plain = started(here / "plain")
    plain.communicate()
    assert plain.returncode == 0
    draw = random.Random(0)
    for _ in range(6):
        process = started(here / "killed")
        assert process.stdout is not None
        for _ in range(draw.randint(1, 3)):  # trials that begin or end
            process.stdout.readline()
        time.sleep(draw.uniform(0, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    last = started(here / "killed")
    last.communicate()
    assert last.returncode == 0
    killed, whole = results(here / "killed"), results(here / "plain")
    for found in (killed, whole):
        del found["best"]["command"]  # which names the folder
    assert killed == whole
