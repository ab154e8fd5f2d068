"""Files beside the code are consistent with it."""

import re
import tomllib
from itertools import chain
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LINES = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
PINS = [line for line in LINES if not line.startswith("#")]


def test_constraints_pin_versions_and_nothing_else() -> None:
    assert [pin for pin in PINS if not re.fullmatch(r"[a-z0-9-]+==[0-9][\w.]*", pin)] == []


def test_constraints_lie_within_the_stated_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = dict(pin.split("==") for pin in PINS)
    lines = chain(project["dependencies"], *project["optional-dependencies"].values())
    stated = [r for r in map(Requirement, lines) if r.name != project["name"]]
    outside = [str(r) for r in stated if not r.specifier.contains(pinned[r.name])]
    assert not outside
