"""Small files on disk."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.small_pictures import write_picture


@pytest.fixture
def picture() -> Callable[..., Path]:
    return write_picture


@pytest.fixture
def text() -> Callable[[Path, str], Path]:
    return write_text


def write_text(path: Path, content: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path
