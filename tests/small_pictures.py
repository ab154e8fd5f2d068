"""Small pictures on disk."""

from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112


def write_picture(
    path: Path, height: int = 20, width: int = 30, mode: str = "RGB", orientation: int = 1
) -> Path:
    """A picture whose left half is dark and right half bright, `orientation` in its EXIF."""
    pixels = np.full((height, width), 40, np.uint8)
    pixels[:, width // 2 :] = 220
    image = Image.fromarray(pixels).convert(mode)
    exif = image.getexif()
    exif[ORIENTATION] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, exif=exif)
    return path
