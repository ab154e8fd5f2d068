"""An addition is one Python file and one YAML outside of the package, and no file is opened.

`own_parts` is the folder of a user: an `own_KIND.py` and a `conf/GROUP/own.yaml` for each kind.
Each part meets what the contract tests, which find ours through their YAML, ask of its kind.
"""

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

import detectors
from detectors.__main__ import main
from detectors.config.compose import compose
from detectors.config.instantiate import instantiate
from detectors.config.overrides import changes, check_overrides
from tests.assigners import test_contract as of_assigners
from tests.assigners.test_contract import guess, objects  # noqa: F401  (fixtures)
from tests.backbones import test_contract as of_backbones
from tests.losses import test_contract as of_losses
from tests.necks import test_contract as of_necks
from tests.small_pictures import write_picture
from tests.tricks.bag import seen, words
from tests.tricks.test_on import declared

FOLDER = Path(__file__).parent / "own_parts"
SEARCH = f"hydra.searchpath=[file://{FOLDER / 'conf'}]"
THIN = ["size=small", "part.priors.levels=3", "part.tower.depth=1", "part.tower.norm=null"]
OBJECT = "cell,5,5,18,16\n"


@pytest.fixture(autouse=True)
def _found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python looks into the folder, as it does where a command runs in it."""
    monkeypatch.syspath_prepend(str(FOLDER))


def checks(contract: ModuleType, part: str) -> list[Callable]:
    """Tests of a contract that take the part, and otherwise fixtures alone."""
    known = {part, "guess", "objects"}
    tests = [test for name, test in vars(contract).items() if name.startswith("test_")]
    return [t for t in tests if part in (taken := _parameters(t)) and taken <= known]


def _parameters(test: Callable) -> set[str]:
    return set(inspect.signature(test).parameters)


def contract(module: ModuleType, part: str) -> pytest.MarkDecorator:
    tests = checks(module, part)
    assert len(tests) > 2
    return pytest.mark.parametrize("check", tests, ids=lambda test: test.__name__)


def own(group: str) -> Any:
    """The user's part of a group, made by its YAML."""
    return instantiate(compose([SEARCH, "model=fcos", *THIN, f"{group}=own"]), f"part.{group}")


@contract(of_backbones, "backbone")
def test_a_backbone_meets_the_contract(check: Callable) -> None:
    check(backbone=detectors.build("fcos", [SEARCH, *THIN, "backbone=own"]).backbone)


@contract(of_necks, "neck")
def test_a_neck_meets_the_contract(check: Callable) -> None:
    check(neck=own("neck")(of_necks.SPECS))


@contract(of_losses, "term")
def test_a_loss_meets_the_contract(check: Callable) -> None:
    check(term=own("box_loss"))


@contract(of_assigners, "assigner")
def test_an_assigner_meets_the_contract(check: Callable, request: pytest.FixtureRequest) -> None:
    given = {name: request.getfixturevalue(name) for name in _parameters(check) - {"assigner"}}
    check(assigner=own("assigner"), **given)


def test_a_trick_shows_where_it_declares(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    on, off = [SEARCH, *words("fcos", "own")], [SEARCH, *words("fcos")]
    check_overrides(compose(on), on)
    must, may = declared(sorted(changes(compose(on), compose(off))), "own")
    assert must == {"batches"}
    assert seen(*on).differing(seen(*off)) <= may


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """A csv file and its pictures, in the format of `own_data.py`."""
    lines = []
    for k in range(4):
        write_picture(tmp_path / f"{k}.png")
        lines += [f"{k}.png,{OBJECT}", f"{k}.png,plate,20,2,28,9\n"]
    (tmp_path / "cells.csv").write_text("".join(lines))
    return tmp_path / "cells.csv"


def test_a_data_format_gives_batches(cells: Path) -> None:
    given = [f"data.train.path={cells}", "image_size=64", "data.batch_size=2", "data.num_workers=0"]
    data = instantiate(compose([SEARCH, "data=own", *given]), "data")
    batch = next(iter(data.train_dataloader()))
    assert data.classes == ("cell", "plate")
    assert batch.targets.valid.sum(1).tolist() == [2, 2]


def test_python_builds_with_all_of_them() -> None:
    parts = ["backbone=own", "neck=own", "assigner=own", "box_loss=own"]
    given = [SEARCH, *THIN, *parts, "part.neck.width=32", "image_size=96"]
    detector = detectors.build("fcos", given, num_classes=2)
    assert type(detector.neck).__module__ == "own_neck"
    assert type(detector.backbone).__module__ == "own_backbone"
    assert detector.eval()(torch.zeros(1, 3, 96, 96)).valid.shape[0] == 1


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """The command line in an empty folder."""

    def call(name: str, *given: str) -> None:
        line = ["detectors", name, "--config-dir", str(FOLDER / "conf"), *given]
        monkeypatch.setattr(sys, "argv", line)
        monkeypatch.setattr(sys, "path", list(sys.path))
        main()

    monkeypatch.chdir(tmp_path)
    return call


def test_command_line_trains_with_all_of_them(
    command: Callable[..., None], cells: Path, tmp_path: Path
) -> None:
    groups = ("backbone", "neck", "assigner", "box_loss", "data")
    lists = ["trick=[own]", "metric=[coco,voc,own]"]
    parts = [*(f"{group}=own" for group in groups), *lists, f"data.train.path={cells}"]
    run = ["trainer=smoke", "device=cpu", "data.batch_size=2", "data.num_workers=0"]
    command("train", "model=fcos", *THIN, *parts, *run, "image_size=96", "hydra.run.dir=out")
    made = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert made["augment"]["grey"]["_target_"] == "own_trick.Grey"
    assert made["part"]["box_loss"]["_target_"] == "own_loss.LogCosh"
    assert (tmp_path / "out" / "checkpoints" / "last.ckpt").is_file()
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert {"val/AP", "val/VOC_AP50_area", "val/per_image"} <= metrics.keys()


def test_a_trick_is_tried_by_the_command_line(command: Callable[..., None], tmp_path: Path) -> None:
    command("tricks", "tricks=[own]", "families=[fcos]", "grid=grid", "page=page.md")
    row = yaml.safe_load((tmp_path / "grid" / "own.yaml").read_text())
    assert row == {"families": {"fcos": ""}}
    assert "| `own` | yes |" in (tmp_path / "page.md").read_text()
