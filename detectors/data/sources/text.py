"""Reads text files in whatever Unicode they are in."""

import codecs
import json
import os
import stat
from pathlib import Path

MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # byte order marks


def check_ordinary(path: str | Path) -> None:
    """Refuses what is no file that ends, such as a pipe.

    Raises:
        ValueError: it is something else.
        OSError: there is nothing.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path} is a folder, pipe or device, expected a file")


def not_json(path: Path, error: json.JSONDecodeError) -> str:
    """The message about a file that is not json: the place, and what to do."""
    return (
        f"{path}:{error.lineno}: not valid json ({error.msg}, character {error.colno} of the "
        "line); export it again, or correct it there"
    )


def content(path: Path) -> bytes:
    """What is in a file.

    Raises:
        ValueError: it is no ordinary file.
    """
    check_ordinary(path)
    return path.read_bytes()


def text(path: Path) -> str:
    """What is in a text file, in UTF-8 or as its byte order mark says, without the mark.

    Raises:
        ValueError: it is something else; the message names the line.
    """
    return as_text(content(path), path)


def as_text(data: bytes, path: Path, encoding: str = "utf-8") -> str:
    """The text of a file's content; a byte order mark wins over `encoding`.

    Raises:
        ValueError: it is something else; the message names the line.
    """
    marked = [codec for mark, codec in MARKS.items() if data.startswith(mark)]
    codec = marked[0] if marked else encoding
    try:
        return data.decode(codec)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"{path}:{line}: not the text in {codec} that it should be ({error.reason}); save the "
            "file as UTF-8"
        ) from error
    except (LookupError, UnicodeError):
        raise ValueError(f"{path}:1: the encoding {codec} is unknown; save it as UTF-8") from None
