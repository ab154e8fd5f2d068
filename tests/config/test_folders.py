"""Every run has a folder of its own, and one that was refused has none."""

import logging
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from detectors.__main__ import run
from detectors.config import folders
from detectors.config.compose import compose
from detectors.config.folders import claimed, sweep_name


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Path]]:
    """Runs `detectors predict WORDS` with another body, at a time that stands still."""

    def call(body: Callable[[Any], Any], *words: str) -> list[Path]:
        seen = []

        def main(cfg: Any) -> Any:
            seen.append(Path(HydraConfig.get().runtime.output_dir))
            return body(cfg)

        module = types.SimpleNamespace(main=main)
        monkeypatch.setitem(sys.modules, "detectors.commands.predict", module)  # type: ignore[arg-type]
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(sys, "argv", ["detectors"])
        try:
            run("predict", [*words, "ckpt_path=last", "source=b"])
        finally:
            GlobalHydra.instance().clear()
        return seen

    return call


def test_runs_of_one_second_do_not_share_a_folder(tmp_path: Path) -> None:
    names = [claimed(str(tmp_path / "runs" / "now")) for _ in range(3)]
    assert [Path(name).name for name in names] == ["now", "now_2", "now_3"]
    assert all(Path(name).is_dir() for name in names)


def test_the_default_folder_is_claimed_once(
    ran: Callable[..., list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(folders, "claimed", lambda path: asked.append(path) or claimed(path))
    (folder,) = ran(lambda cfg: None)
    assert [folder] == list((tmp_path / "runs").iterdir())
    assert str(folder).endswith(asked[0])
    jobs = ran(lambda cfg: None, "-m", "batch_size=1,2")
    assert len(asked) == 2
    assert [job.name for job in jobs] == ["0", "1"]
    assert {job.parent for job in jobs} == {tmp_path / asked[1]}


def test_runs_of_a_sweep_are_grouped_by_its_folder(ran: Callable[..., list[Path]]) -> None:
    """As trackers are told."""
    told: list[str | None] = []
    ran(lambda cfg: told.append(sweep_name()))
    ran(lambda cfg: told.append(sweep_name()), "-m", "batch_size=1,2", "hydra.sweep.dir=runs/mine")
    assert told == [None, "mine", "mine"]
    assert compose(["logger=[wandb]"]).logger.wandb.group is None


def refuse(cfg: Any) -> None:
    logging.getLogger("detectors").info("so far so good")
    raise ValueError("nothing fits")


def test_what_is_refused_leaves_no_folder_behind(
    ran: Callable[..., list[Path]], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    for words in ([], ["hydra.run.dir=mine"]):
        with pytest.raises(SystemExit):
            ran(refuse, *words)
        assert not list(tmp_path.iterdir())
    assert "nothing fits" in capsys.readouterr().err


def test_a_folder_with_results_stays_and_so_do_the_jobs_of_a_sweep(
    ran: Callable[..., list[Path]], tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").touch()
    with pytest.raises(SystemExit):
        ran(refuse, "hydra.run.dir=mine")
    assert "nothing fits" in (tmp_path / "mine" / "log.txt").read_text()
    with pytest.raises(SystemExit):
        ran(refuse, "-m", "batch_size=1,2", "hydra.sweep.dir=sweep")
    for job in ("0", "1"):
        assert "nothing fits" in (tmp_path / "sweep" / job / "log.txt").read_text()


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"cannot be made .*choose another with hydra\.run\.dir"):
        claimed(str(tmp_path / "file" / "run"))
