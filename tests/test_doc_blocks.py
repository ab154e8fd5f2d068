"""Every code block of the pages means something; `make test-slow` runs them as they stand."""

import ast
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

import detectors
from detectors.__main__ import DOING, _with_do, _words_first
from detectors.config.compose import compose
from detectors.config.overrides import check_overrides
from detectors.config.paths import CONF
from detectors.structures import Targets
from tests.blocks import PAGES, ROOT, Block, blocks, lines, of_detectors
from tests.small_pictures import write_picture

BLOCKS = [block for page in PAGES for block in blocks(page)]
LANGUAGES = {"bash", "python", "yaml", "text", "bibtex", "{toctree}", "{include}", "{math}"}
PROGRAMS = {"source", "eval", "cat", "ls", "python", "torchrun", "make", "detectors"}
TARGETS = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[0].split()
NETWORK = "yolo-fastest-1.1.cfg"  # a file that a page reads
# Words that make a command of a page small, where the page does not say them itself.
TINY = {
    "train": ["trainer=smoke", "size=small", "image_size=96", "data.num_workers=0"],
    "tricks": ["tricks=[mosaic]", "families=[fcos]", "grid=grid", "page=page.md"],
}


def of(*languages: str, run: bool = False) -> pytest.MarkDecorator:
    """One test for each block of these languages; with `run` those that are not marked."""
    found = [b for b in BLOCKS if b.language in languages and not (run and b.reason)]
    return pytest.mark.parametrize("block", found, ids=[block.name for block in found])


def test_blocks_have_a_known_language() -> None:
    assert {block.name for block in BLOCKS if block.language not in LANGUAGES} == set()


@of("bash")
def test_every_line_is_a_program_that_the_reader_has(block: Block) -> None:
    if not block.reason:
        for words in lines(block.text):
            first = next(word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word))
            assert first in PROGRAMS, f"{first}: mark the block `<!-- not run: REASON -->`"
            assert first != "make" or words[1] in TARGETS


@of("bash")
def test_words_compose(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """Also of blocks that are not run: nothing is trained here."""
    monkeypatch.chdir(tmp_path)
    if NETWORK in block.text:
        shutil.copy(request.getfixturevalue("data_root") / "yolo_fastest" / NETWORK, tmp_path)
    _write_files(block.page, tmp_path)
    for words in lines(block.text):
        given = of_detectors(words)
        if given and not given[0].startswith("-") and "--help" not in given:
            _compose(*given)


def _compose(command: str, *arguments: str) -> None:
    """Compose the config of each job, and refuse what `detectors` would before torch."""
    assert (CONF / f"{command}.yaml").is_file(), f"there is no command {command!r}"
    given = _words_first(list(arguments))
    given = _with_do(given) if command in DOING else given
    folders = [after for flag, after in itertools.pairwise(given) if flag == "--config-dir"]
    search = [f"hydra.searchpath=[file://{Path(folder).absolute()}]" for folder in folders]
    words = [word for word in given if "=" in word and not word.startswith("-")]
    for job in _jobs(words):
        check_overrides(compose([*search, *job], command), [*search, *job], command)


def _jobs(words: list[str]) -> Iterator[list[str]]:
    """The words with the first choice of each that sweeps, then with each other choice alone."""
    parsed = OverridesParser.create().parse_overrides(words)
    choices = [
        [f"{word.key_or_group}={value}" for value in word.sweep_string_iterator()]
        if word.is_sweep_override()
        else [text]
        for word, text in zip(parsed, words, strict=True)
    ]
    first = [each[0] for each in choices]
    yield first
    for place, each in enumerate(choices):
        for other in each[1:]:
            yield [*first[:place], other, *first[place + 1 :]]


def _write_files(page: Path, folder: Path) -> None:
    """Save what the page tells the reader to save."""
    for block in blocks(page):
        if block.file:
            file = folder / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(block.text)


@of("yaml")
def test_yaml_can_be_read(block: Block) -> None:
    assert isinstance(yaml.safe_load(block.text), dict)
    assert block.file or block.reason, "say `Save this as FILE`, or why it is no file"


@of("python")
def test_python_can_be_read_and_names_what_exists(block: Block) -> None:
    tree = ast.parse(block.text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "detectors":
            assert hasattr(detectors, node.attr)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "build":
            family, words = [*map(ast.literal_eval, node.args), []][:2]
            said = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
            words = said.pop("overrides", words)
            _compose("train", f"model={family}", *words, *(f"{k}={v}" for k, v in said.items()))


def _said(words: list[str]) -> set[str]:
    return {word.lstrip("+~").split("=")[0] for word in words}


def _tiny(line: str) -> str:
    """The line, and words that make it small where it does not say them."""
    given = of_detectors(shlex.split(line, comments=True)) or [""]
    added = [w for w in TINY.get(given[0], []) if w.split("=")[0] not in _said(given)]
    return " ".join([re.sub(r"\s+#.*", "", line), *added]) if added else line


def _script(block: Block, exact: bool) -> str:
    """What the block runs; `exact` where the page shows what that prints."""
    written = block.text.replace("\\\n", " ").splitlines()
    return block.text if exact else "\n".join(map(_tiny, written))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder as a reader has it: pictures, and a data set of their own in VOC's form."""
    (tmp_path / "folder").mkdir()
    write_picture(tmp_path / "folder" / "one.png")
    (tmp_path / "bin").mkdir()
    for name, run in {"python": "", "detectors": "-m detectors "}.items():
        file = tmp_path / "bin" / name
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" {run}"$@"\n')
        file.chmod(0o755)
    return tmp_path


def _run(script: str, here: Path) -> str:
    path = f"{here / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    environment["DETECTORS_REPORT"] = "true"  # as for a reader; tests leave it out
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=here,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout.replace(f"{here}/", "")


RUN = [page for page in PAGES if any(b.language in ("bash", "python") for b in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=[page.name for page in RUN])
def test_a_page_runs(page: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks that are not marked, one after the other in one folder; prints are as shown."""
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    _write_files(page, here)
    found = blocks(page)
    for block, following in itertools.pairwise([*found, None]):
        if block is None or block.reason:
            continue
        printed = following and following.language == "text"
        shown = following.text if printed and following.section == block.section else ""
        if block.language == "bash" and not block.text.startswith("make"):
            _check_print(shown, _run(_script(block, bool(shown)), here))
        if block.language == "python" and not block.file:
            _run_python(block, here)


def _run_python(block: Block, here: Path) -> None:
    """With images and targets of one picture without objects, and the page's last checkpoint."""
    empty = torch.zeros(1, 8, dtype=torch.bool)
    targets = Targets(torch.zeros(1, 8, 4), torch.zeros(1, 8, dtype=torch.int64), empty, empty)
    images = torch.zeros(1, 3, 96, 96)
    text = block.text
    if "runs/.../best.ckpt" in text:
        newest = max(here.glob("runs/**/best.ckpt"), key=lambda file: file.stat().st_mtime)
        text = text.replace("runs/.../best.ckpt", str(newest))
    exec(text, {"images": images, "targets": targets})


def _check_print(shown: str, printed: str) -> None:
    """Every shown line is printed, in this order; numbers and widths may be others.

    A line may go over several, as the path of the checkout may be long.
    """
    text, place = " ".join(map(_plain, printed.splitlines())), 0
    for line in map(_plain, shown.splitlines()):
        if line != "...":
            found = text.find(line, place)
            assert found >= 0, f"not printed, or not in this order: {line}\n\n{printed}"
            place = found + len(line)


def _plain(line: str) -> str:
    """A line without numbers, rules of tables, spaces and folders of an installation."""
    line = re.sub(r"/\S*/(?=(detectors|torch|timm)/)|\b[0-9a-f]{16}\b", "", line)
    line = re.sub(r"[-+]?\d[\d.,:e+-]*|[━─┏┓┗┛┡┩┳┻╇┴└┘┃│]", " ", line)
    return " ".join(line.split())
