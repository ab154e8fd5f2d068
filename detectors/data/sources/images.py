"""Image files as a source: paths in one buffer, pictures decoded on demand."""

import io
import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from detectors.data.sources.annotations import Findings
from detectors.data.sources.base import Unreadable
from detectors.data.sources.text import check_ordinary
from detectors.structures import Annotations

ORIENTATION = 0x0112  # EXIF tag; 5 to 8 lie on their side
AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
REDUCED = {1: 0, 2: 16, 4: 32, 8: 64}  # OpenCV's flags IMREAD_REDUCED_*, without a colour of theirs
JPEG = b"\xff\xd8"
SAMPLED = 64  # pictures of which the size is looked at before a run
UNREAD = (OSError, ValueError, SyntaxError, LookupError, EOFError, struct.error)  # PIL's, all met


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
            Unreadable: the file is damaged or gone, or its size is not the annotated one.
        """
        height, width = self.annotations.sizes[index]
        return read_picture(self.path(index), (int(height), int(width)))

    def reduced(self, index: int, least: tuple[int, int]) -> np.ndarray:
        """As `image`, at the smallest of 1, 1/2, 1/4 and 1/8 that is not below `least` pixels.

        A JPEG is decoded at that size (libjpeg's scaled cosine transform), which is faster; the
        files of other formats are decoded whole. So is what does not divide: its last pixels would
        stand for more than there is, and objects would lie a little beside their boxes.
        """
        size = self.annotations.sizes[index]
        fitting = [
            part
            for part in REDUCED
            if np.all((size % part == 0) & (size >= part * np.array(least)))
        ]
        return read_picture(self.path(index), (int(size[0]), int(size[1])), max(fitting, default=1))


def read_picture(path: str, size: tuple[int, int], part: int = 1) -> np.ndarray:
    """[H, W, 3] uint8 RGB of a file whose annotations are for pictures of this (height, width).

    Args:
        part: a JPEG is decoded at one `part`-th of its size, 1, 2, 4 or 8, which divides it.

    Raises:
        Unreadable: the file is damaged or gone, or has another size, upright and as it is stored.
    """
    data = encoded(path)
    part = part if _is_jpeg(data, size) else 1
    for upright in (True, False):
        image = decoded(data, path, upright, part)
        if image.shape[:2] == (size[0] // part, size[1] // part):
            return image
    raise Unreadable(f"{path}: {_misfit(image.shape[:2], size)}")


def _is_jpeg(data: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether it is a JPEG of this (height, width) or, before it is turned, (width, height).

    At a part of its size a picture would not show that it lacks some pixels.
    """
    if data[:2].tobytes() != JPEG:
        return False
    try:
        with _any_size(), Image.open(io.BytesIO(data.tobytes())) as image:
            return sorted(image.size) == sorted(size)
    except UNREAD:
        return False


def _misfit(found: Sequence[int], annotated: Sequence[int]) -> str:
    return (
        f"the picture is {found[1]} wide and {found[0]} high, its annotation says "
        f"{annotated[1]} x {annotated[0]}; the boxes would not fit, correct the annotation"
    )


def encoded(path: str) -> np.ndarray:
    """[bytes] uint8, the content of a picture's file.

    Raises:
        Unreadable: there is no such file, or it is a pipe, from which one would wait for ever.
    """
    try:
        check_ordinary(path)
        return np.fromfile(path, np.uint8)
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from error


def decoded(data: np.ndarray, path: str, upright: bool, part: int = 1) -> np.ndarray:
    """[H, W, 3] uint8 RGB of an encoded picture; grey, CMYK and 16 bits are converted.

    OpenCV refuses a truncated JPEG since 4.12; before, it filled the rest with grey.

    Args:
        data: [bytes] uint8, the content of the file.
        path: for messages.
        upright: turn the picture as its EXIF orientation says.
        part: decode at one `part`-th of its size, see `REDUCED`.

    Raises:
        Unreadable: the file is damaged or of an unknown format.
    """
    flags = cv2.IMREAD_COLOR_RGB if upright else AS_STORED
    try:
        image = cv2.imdecode(data, flags | REDUCED[part]) if len(data) else None
    except cv2.error as error:
        raise _damaged(path, " ".join(str(error).split())) from error
    if image is None:
        raise _damaged(path, "OpenCV cannot decode it")
    return image


def _damaged(path: str, reason: str) -> Unreadable:
    return Unreadable(
        f"{path}: damaged or truncated image ({reason}); replace the file or take it out of the "
        "split"
    )


def upright_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a picture after its EXIF orientation, from its header alone.

    Raises:
        Unreadable: the file has no header that PIL knows.
    """
    (height, width), turned = _header(path)
    return (width, height) if turned else (height, width)


def _header(path: str | Path) -> tuple[tuple[int, int], bool]:
    """(height, width) as stored, and whether the EXIF orientation turns it on its side."""
    try:
        check_ordinary(path)
        with _any_size(), Image.open(path) as image:
            width, height = image.size
            if tags := getattr(image, "tag_v2", None):  # of a TIFF; PIL turns its size already
                width, height = tags[256], tags[257]
            return (height, width), image.getexif().get(ORIENTATION, 1) in (5, 6, 7, 8)
    except UNREAD as error:
        raise _damaged(str(path), str(error)) from error


@contextmanager
def _any_size() -> Iterator[None]:
    """Lets PIL open large pictures, since only headers are read; OpenCV has a limit of its own."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def check_sizes(files: ImageFiles, findings: Findings) -> None:
    """Compares the annotated sizes of some pictures with their headers; all are compared when used.

    A header that cannot be read is left to the use of the picture.

    Raises:
        ValueError: sizes differ; the message names a picture and both sizes.
    """
    rows = np.unique(np.linspace(0, len(files) - 1, SAMPLED).astype(int)).tolist()
    wrong = []
    for row in rows:
        try:
            stored, turned = _header(files.path(row))
        except Unreadable:
            continue
        annotated = tuple(files.annotations.sizes[row].tolist())
        if annotated not in ((stored, stored[::-1]) if turned else (stored,)):
            wrong.append(f"{files.path(row)}: {_misfit(stored, annotated)}")
    if wrong:
        findings.refuse(
            f"{findings.origin}: {len(wrong)} of {len(rows)} pictures looked at have another size "
            f"than annotated; {wrong[0]}"
        )
