"""Pages, help texts and messages name only what exists."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from tests.blocks import PAGES, blocks
from tests.test_imports import STAIR

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf"
CHOICES = {p.name: {f.stem for f in p.glob("*.yaml")} for p in CONF.iterdir() if p.is_dir()}
COMMANDS = {f.stem: f for f in CONF.glob("*.yaml") if f.stem != "run"}
OF_THE_USER = {
    "mine",
    "mine_found",
    "mean_box",
    "thin",
    "tiny",
}  # names of parts that a page tells the reader to write
OTHER_KEYS = {"compare": "assigner"}  # keys whose values are choices of a group
PLACES = {"part", "model", "hydra", "native_size"}  # top-level nodes without a key of their own


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")


def _page(file: Path) -> str:
    return str(file.relative_to(ROOT))


def _help(command: str) -> str:
    return yaml.safe_load(_read(COMMANDS[command]))["hydra"]["help"]["template"]


def _strings(file: Path) -> str:
    """All string literals of a Python file, one after the other."""
    nodes = ast.walk(ast.parse(_read(file)))
    found = (node.value for node in nodes if isinstance(node, ast.Constant))
    return "\n".join(value for value in found if isinstance(value, str))


def _commands(text: str) -> list[list[str]]:
    """Words of every command line: those in backticks, and indented lines up to a remark."""
    whole = re.findall(r"^ +(detectors .+?)(?:\s{2,}.*)?$", text, re.MULTILINE)
    return [line.split()[1:] for line in [*whole, *re.findall(r"`(detectors [^`]*)`", text)]]


def _unknown_choices(text: str) -> list[str]:
    """Every `group=choice` that names no file."""
    found = re.findall(r"(?<![\w.])([a-z_]+)=\[?([a-z][a-z0-9_,|]*)", text)
    return [
        f"{key}={choice}"
        for key, value in found
        if (group := OTHER_KEYS.get(key, key)) in CHOICES
        for choice in re.split("[,|]", value.rstrip(",|"))
        if choice not in CHOICES[group] | OF_THE_USER | {"null"}
    ]


def _keys(command: str) -> set[str]:
    """Top-level keys that a word of the command may begin with."""
    composed = yaml.safe_load(_read(COMMANDS[command]))
    from_train = "train" in composed["defaults"]
    return set(composed) | CHOICES.keys() | PLACES | (_keys("train") if from_train else set())


def test_every_group_has_its_line() -> None:
    named = re.findall(r"^\| `(\w+)` \|", _read(ROOT / "docs" / "configs.md"), re.MULTILINE)
    assert sorted(named) == sorted(CHOICES)


def test_the_readme_is_short_and_links_the_pages() -> None:
    readme = _read(ROOT / "README.md")
    assert len(readme.splitlines()) < 200
    assert "(docs/architecture.md)" in readme
    assert "(docs/configs.md)" in readme


@pytest.mark.parametrize("page", PAGES, ids=_page)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", _read(page)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link} leads nowhere"
        headings = re.findall(r"^#+ (.*)$", _read(target), re.MULTILINE) if anchor else []
        anchors = {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
        assert not anchor or anchor in anchors, f"{link}: there is no such heading"


@pytest.mark.parametrize("page", PAGES, ids=_page)
def test_paths_exist(page: Path) -> None:
    paths = re.findall(r"`((?:detectors|conf|docs|tests|experiments)/[\w./]*)`", _read(page))
    saved = {block.file for block in blocks(page)}  # by the reader
    named = [p for p in paths if p not in saved and not re.search(r"\b[A-Z]+\b", p)]  # any name
    assert not [path for path in named if not (ROOT / path).exists()]


@pytest.mark.parametrize("page", PAGES, ids=_page)
def test_command_lines_of_a_page_are_possible(page: Path) -> None:
    _check_commands(_read(page))


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_command_lines_of_a_help_text_are_possible(command: str) -> None:
    _check_commands(_help(command))


def _check_commands(text: str) -> None:
    for command, *words in _commands(text):
        if not command.isupper() and not command.startswith("-"):
            assert command in COMMANDS, f"there is no command {command!r}"
            keys = {word.lstrip("'+~").split("=")[0].split(".")[0] for word in words if "=" in word}
            assert keys <= _keys(command), f"{command}: {sorted(keys - _keys(command))}"


@pytest.mark.parametrize("page", PAGES, ids=_page)
def test_choices_on_a_page_exist(page: Path) -> None:
    assert not _unknown_choices(_read(page))


def test_choices_in_comments_and_help_texts_exist() -> None:
    found = {_page(file): _unknown_choices(_read(file)) for file in sorted(CONF.rglob("*.yaml"))}
    assert not {file: unknown for file, unknown in found.items() if unknown}


def test_choices_in_messages_and_docstrings_exist() -> None:
    files = sorted((ROOT / "detectors").rglob("*.py"))
    found = {_page(file): _unknown_choices(_strings(file)) for file in files}
    assert not {file: unknown for file, unknown in found.items() if unknown}


def test_the_stair_of_the_architecture_is_the_one_that_is_tested() -> None:
    table = _read(ROOT / "docs" / "architecture.md").partition("## The stair")[2].partition("##")[0]
    rows = [row.split("|")[2] for row in table.splitlines() if row.startswith("| ") and "`" in row]
    stair = [set(re.findall(r"(?:detectors/)?(\w+)(?:/|\.py)`", row)) for row in reversed(rows)]
    assert stair == [set(step) for step in STAIR]
