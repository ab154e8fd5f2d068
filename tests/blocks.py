"""Code blocks of the pages, as a reader sees them."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if "api" not in page.parts]  # written by docs/conf.py
REASON = re.compile(r"<!-- not run: (.+?) -->")
THIS = re.compile(r"\bthis\b[^.]*?\sas\s`([\w./]+)`")
THAT = re.compile(r"class\sas\s`([\w./]+)`")


class Block(NamedTuple):
    page: Path
    line: int
    language: str  # bash, python, yaml, text, or {name} of a directive
    text: str
    file: str  # under which name the page tells the reader to save it; may be empty
    reason: str  # why it is not run; may be empty
    section: int  # how many headings stand before it

    @property
    def name(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """All blocks of a page; indented ones hold command lines."""
    tokens = MarkdownIt().parse(page.read_text(encoding="utf-8"))
    found, before, reason, section = [], "", "", 0
    for place, token in enumerate(tokens):
        section += token.type == "heading_open"
        if token.type == "inline":
            before, reason = token.content, ""
        elif token.type == "html_block":
            reason = "".join(REASON.findall(token.content))
        elif token.type in ("fence", "code_block"):
            after = next((t.content for t in tokens[place:] if t.type == "inline"), "")
            language = token.info.split()[0] if token.info else "text"
            language = "bash" if token.type == "code_block" else language
            file = _file(before, after)
            line = token.map[0] + 1 if token.map else 0
            found.append(Block(page, line, language, token.content, file, reason, section))
            before, reason = "", ""
    return found


def _file(before: str, after: str) -> str:
    """What `Save this as FILE` before a block, or `Save the class as FILE` after it, says."""
    named = THIS.findall(before) or THAT.findall(after)
    return named[-1] if named else ""


def lines(text: str) -> Iterator[list[str]]:
    """Words of each command line, without remarks."""
    for line in text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words


def of_detectors(words: list[str]) -> list[str] | None:
    """What stands behind `detectors`, however it is started; None if something else is."""
    for place, word in enumerate(words):
        if word == "detectors":
            return words[place + 1 :]
        if "=" not in word and not word.startswith("-") and place > 3:
            return None
    return None
