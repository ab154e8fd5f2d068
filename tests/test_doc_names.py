"""What the pages say of our code and of numbers is so."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.blocks import PAGES, ROOT
from tests.test_parameter_counts import PUBLISHED

FAMILIES = sorted((ROOT / "docs" / "families").glob("*.md"))
NAMED = re.compile(r"`([\w/]+\.py)::([\w.]+)`")
COUNT = re.compile(r"\b\d{1,3}(?:,\d{3}){2,}\b")


@cache
def _names(file: Path) -> set[str]:
    """Classes, functions and methods of a file."""
    found = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found.add(node.name)
            inner = node.body if isinstance(node, ast.ClassDef) else []
            found |= {f"{node.name}.{n.name}" for n in inner if isinstance(n, ast.FunctionDef)}
    return found


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_what_is_named_of_our_code_is_there(page: Path) -> None:
    for file, name in NAMED.findall(page.read_text(encoding="utf-8")):
        assert (ROOT / file).is_file(), f"{file}::{name}"
        assert name in _names(ROOT / file), f"{file}::{name}"


def _counts() -> set[str]:
    """Parameters that tests/test_parameter_counts.py holds."""
    text = (ROOT / "tests" / "test_parameter_counts.py").read_text(encoding="utf-8")
    return {f"{count:,}" for *_, count, _ in PUBLISHED} | {
        number.replace("_", ",") for number in re.findall(r"\b\d{1,3}(?:_\d{3}){2,}\b", text)
    }


@pytest.mark.parametrize("page", FAMILIES, ids=[page.stem for page in FAMILIES])
def test_parameters_on_a_page_are_those_that_are_tested(page: Path) -> None:
    assert set(COUNT.findall(page.read_text(encoding="utf-8"))) <= _counts()


def test_every_family_of_the_grid_has_a_page_with_equations() -> None:
    pages = {page.stem: page.read_text(encoding="utf-8") for page in FAMILIES}
    grid = yaml.safe_load((ROOT / "conf" / "tricks.yaml").read_text(encoding="utf-8"))
    told = {family: pages.get(family, "") for family in grid["families"]}
    told |= {f: pages[f.rpartition("_")[0]] for f, page in told.items() if not page}  # of all sizes
    assert [family for family, page in told.items() if "$$" not in page] == []
