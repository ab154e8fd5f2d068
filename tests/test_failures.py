"""What went wrong is told in one line; what nobody expected is kept with its traceback."""

import logging
import sys
from pathlib import Path

import pytest
import yaml
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from detectors.__main__ import main
from detectors.config.spelling import did_you_mean
from detectors.failures import keep, told


def caught(error: Exception) -> Exception:
    try:
        raise error
    except Exception as found:
        return found


@pytest.mark.parametrize("kind", [ValueError, OSError, yaml.YAMLError, MisconfigurationException])
def test_what_a_user_can_mend_is_told_in_its_own_words(kind: type[Exception]) -> None:
    assert told(caught(kind("lr is -1,\n  expected\n  more"))) == "lr is -1, expected more"


def test_what_has_no_value_is_told_with_the_remedy() -> None:
    cfg = OmegaConf.create({"data": {"root": "???"}})
    with pytest.raises(OmegaConfBaseException) as missing:
        cfg.data.root  # noqa: B018
    assert told(missing.value) == "data.root has no value: add data.root=..."


def test_anything_else_is_told_with_its_place_in_our_code() -> None:
    with pytest.raises(TypeError) as error:
        did_you_mean(3, ["a"])  # type: ignore[arg-type]
    line = told(error.value)
    assert line.startswith("detectors/config/spelling.py:")
    assert "unexpected TypeError" in line


def test_a_log_keeps_the_line_and_the_traceback_of_what_nobody_expected(tmp_path: Path) -> None:
    handler = logging.FileHandler(tmp_path / "log.txt")
    logging.getLogger().addHandler(handler)
    try:
        keep(caught(ValueError("known")))
        keep(caught(KeyError("unknown")))
        line = told(caught(KeyError("unknown")))
    finally:
        logging.getLogger().removeHandler(handler)
    assert str(tmp_path / "log.txt") in line
    text = (tmp_path / "log.txt").read_text()
    assert text.count("Traceback") == 1
    assert text.startswith("known\n")
    assert "unexpected KeyError: 'unknown'" in text


def test_failed_jobs_of_a_sweep_keep_their_reasons_and_the_end_lists_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    line = ["detectors", "train", "-m", "model=fcos", "seed=abc,-1", "hydra.sweep.dir=sweep"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", line)
    with pytest.raises(SystemExit):
        main()
    last = capsys.readouterr().err.splitlines()[-2:]
    for job, (said, found) in enumerate({"abc": "'abc'", "-1": "-1"}.items()):
        assert f"sweep/{job} (model=fcos seed={said}): seed: found {found}" in last[job]
        assert f"seed: found {found}" in (tmp_path / "sweep" / str(job) / "log.txt").read_text()
