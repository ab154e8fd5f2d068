"""Writes pages of HTML that need no other file: one style sheet, pictures inside."""

import base64
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from PIL import Image

STYLE = Path(__file__).with_name("page.css")


def rendered(
    template: Path, values: Mapping[str, Any], filters: Mapping[str, Callable[..., Any]]
) -> str:
    """The page that a template makes of these values, to which `style` is added.

    All that it shows is escaped. A name that it has no value for is an error.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= filters
    made = environment.from_string(template.read_text(encoding="utf-8"))
    return made.render(style=STYLE.read_text(encoding="utf-8"), **values)


def jpeg(image: Image.Image, quality: int) -> bytes:
    """The bytes of a JPEG file."""
    with io.BytesIO() as file:
        image.save(file, format="JPEG", quality=quality)
        return file.getvalue()


def uri(content: bytes) -> str:
    """An address that holds a JPEG file itself."""
    return f"data:image/jpeg;base64,{base64.b64encode(content).decode()}"
