"""A shell that asks how a line goes on gets commands, then groups, choices and keys."""

import sys

import pytest
from hydra.core.global_hydra import GlobalHydra

from detectors.__main__ import commands, main


def answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> set[str]:
    """What bash is told when Tab is pressed at the end of a line."""
    monkeypatch.setenv("COMP_LINE", line)
    monkeypatch.setattr(sys, "argv", ["detectors", "-sc", "query=bash"])
    main()
    GlobalHydra.instance().clear()
    return set(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("line", "among"),
    [
        ("detectors tr", {"train", "tricks"}),
        ("detectors train model=yolov3", {"model=yolov3", "model=yolov3_spp", "model=yolov3_tiny"}),
        ("detectors train model=fcos optimizer.l", {"optimizer.lr="}),
        ("detectors show nec", {"neck="}),
        ("detectors study study=ex", {"study=example"}),
    ],
)
def test_what_may_follow_is_offered(
    line: str,
    among: set[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert among <= answers(monkeypatch, capsys, line)


def test_all_commands_are_offered_and_nothing_behind_an_unknown_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert answers(monkeypatch, capsys, "detectors ") == set(commands())
    assert answers(monkeypatch, capsys, "detectors trian model=") == set()


def test_the_script_completes_the_program_that_was_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["/some/bin/detectors", "-sc", "install=bash"])
    main()
    GlobalHydra.instance().clear()
    assert capsys.readouterr().out.rstrip().endswith("hydra_bash_completion detectors")
