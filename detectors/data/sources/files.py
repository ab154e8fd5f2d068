"""Image files as a source: paths in one buffer, pictures decoded on demand."""

import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from detectors.data.sources.annotations import examples
from detectors.structures import Annotations

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
ORIENTATION = 0x0112  # EXIF tag; 5 to 8 lie on their side
AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


class ImageFiles:
    """Files on disk with their ground truth.

    A picture is turned as its EXIF orientation says, which is how people see it when they draw
    boxes. Where the annotated size fits only the stored pixels, it was annotated without the
    turn, and the stored pixels are used.
    """

    def __init__(self, annotations: Annotations, paths: Sequence[str | Path]) -> None:
        names = [os.fsencode(path) for path in paths]
        assert len(names) == len(annotations.image_ids)
        self.annotations = annotations
        self._names = b"".join(names)
        self._offsets = np.cumsum([0, *map(len, names)], dtype=np.int64)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def path(self, index: int) -> str:
        return os.fsdecode(self._names[self._offsets[index] : self._offsets[index + 1]])

    def image(self, index: int) -> np.ndarray:
        """[H, W, 3] uint8 RGB.

        Raises:
            ValueError: the file is damaged, or its size is not the annotated one.
        """
        path = self.path(index)
        height, width = self.annotations.sizes[index]
        data = np.fromfile(path, np.uint8)
        for upright in (True, False):
            image = decoded(data, path, upright)
            if image.shape[:2] == (height, width):
                return image
        raise ValueError(
            f"{path}: the picture is {image.shape[1]} wide and {image.shape[0]} high, its "
            f"annotation says {width} x {height}; the boxes would not fit, correct the annotation"
        )


def decoded(data: np.ndarray, path: str, upright: bool) -> np.ndarray:
    """[H, W, 3] uint8 RGB of an encoded picture; grey, CMYK and 16 bits are converted.

    OpenCV refuses a truncated JPEG since 4.12; before, it filled the rest with grey.

    Args:
        data: [bytes] uint8, the content of the file.
        path: for messages.
        upright: turn the picture as its EXIF orientation says.

    Raises:
        ValueError: the file is damaged or of an unknown format.
    """
    flags = cv2.IMREAD_COLOR_RGB if upright else AS_STORED
    image = cv2.imdecode(data, flags) if len(data) else None
    if image is None:
        raise _damaged(path, "OpenCV cannot decode it")
    return image


def _damaged(path: str, reason: str) -> ValueError:
    return ValueError(
        f"{path}: damaged or truncated image ({reason}); replace the file or take it out of the "
        "split. It is not skipped, because a run must see the same images every time"
    )


def upright_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a picture after its EXIF orientation, from its header alone."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    except OSError as error:
        raise _damaged(str(path), str(error)) from error
    return (width, height) if turned else (height, width)


def expanded(path: str | Path) -> Path:
    """The path with `$NAME` and `~` replaced.

    Raises:
        ValueError: a variable is not set.
    """
    full = os.path.expanduser(os.path.expandvars(path))
    if "$DETECTORS_DATA" in full:
        raise ValueError(
            f"the environment variable DETECTORS_DATA is not set, and {path} needs it: point it "
            "at the folder that holds your data sets (export DETECTORS_DATA=/my/data), or give "
            "the path itself. BCCD is at github.com/Shenggan/BCCD_Dataset (MIT; its folder BCCD "
            "is `bccd`), COCO at cocodataset.org"
        )
    if "$" in full:
        raise ValueError(f"{path} names an environment variable that is not set: set it")
    return Path(full)


def existing(path: Path, what: str) -> Path:
    """The path itself.

    Raises:
        ValueError: there is nothing there.
    """
    if not path.exists():
        raise ValueError(f"{what} {path} does not exist; correct the path")
    return path


def check_present(paths: Sequence[Path], origin: str) -> None:
    """Raises ValueError where files are missing, counting them; lists each folder once."""
    folders = {path.parent for path in paths}
    listed = {folder: _listing(folder) for folder in folders}
    missing = [path for path in paths if path.name not in listed[path.parent]]
    if missing:
        raise ValueError(
            f"{origin}: {len(missing)} of {len(paths)} images are missing: {examples(missing)}; "
            "complete the download or correct the folder"
        )


def _listing(folder: Path) -> set[str]:
    return set(os.listdir(folder)) if folder.is_dir() else set()


def read_pictures(source: str | Path) -> ImageFiles:
    """Pictures without annotations: a file, a folder or a glob such as `photos/*.jpg`.

    Raises:
        ValueError: nothing is found there.
    """
    path = expanded(source)
    found = [path] if path.is_file() else sorted(_matches(path))
    paths = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not paths:
        raise ValueError(f"{source}: no picture there; known suffixes: {', '.join(SUFFIXES)}")
    sizes = np.array([upright_size(path) for path in paths], np.int64)
    return ImageFiles(unannotated(sizes), paths)


def _matches(path: Path) -> list[Path]:
    if path.is_dir():
        return list(path.iterdir())
    return list(Path(path.anchor or ".").glob(str(path.relative_to(path.anchor))))


def unannotated(sizes: np.ndarray) -> Annotations:
    """Annotations without an object for pictures of these sizes, [I, 2] height and width."""
    count = len(sizes)
    return Annotations(
        image_ids=np.arange(count),
        sizes=sizes,
        offsets=np.zeros(count + 1, np.int64),
        boxes=np.zeros((0, 4)),
        labels=np.zeros(0, np.int64),
        crowd=np.zeros(0, bool),
        difficult=np.zeros(0, bool),
        areas=np.zeros(0),
        classes=(),
        category_ids=(),
    )
