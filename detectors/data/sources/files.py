"""Image files as a source: paths in one buffer, pictures decoded on demand."""

import codecs
import os
import stat
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from detectors.data.sources.annotations import Findings, examples, unrepeated
from detectors.data.sources.base import Unreadable
from detectors.structures import Annotations

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
ORIENTATION = 0x0112  # EXIF tag; 5 to 8 lie on their side
AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
SAMPLED = 64  # pictures of which the size is looked at before a run
UNREAD = (OSError, ValueError, SyntaxError, LookupError, EOFError, struct.error)  # PIL's, all met
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}  # byte order marks


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
        path = self.path(index)
        height, width = self.annotations.sizes[index]
        data = encoded(path)
        for upright in (True, False):
            image = decoded(data, path, upright)
            if image.shape[:2] == (height, width):
                return image
        raise Unreadable(f"{path}: {_misfit(image.shape[:2], (height, width))}")


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


def decoded(data: np.ndarray, path: str, upright: bool) -> np.ndarray:
    """[H, W, 3] uint8 RGB of an encoded picture; grey, CMYK and 16 bits are converted.

    OpenCV refuses a truncated JPEG since 4.12; before, it filled the rest with grey.

    Args:
        data: [bytes] uint8, the content of the file.
        path: for messages.
        upright: turn the picture as its EXIF orientation says.

    Raises:
        Unreadable: the file is damaged or of an unknown format.
    """
    flags = cv2.IMREAD_COLOR_RGB if upright else AS_STORED
    try:
        image = cv2.imdecode(data, flags) if len(data) else None
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


def check_ordinary(path: str | Path) -> None:
    """Refuses what is no file that ends, such as a pipe.

    Raises:
        ValueError: it is something else.
        OSError: there is nothing.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise ValueError(f"{path} is a folder, pipe or device, expected a file")


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


def check_sizes(files: ImageFiles, origin: str) -> None:
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
        raise ValueError(
            f"{origin}: {len(wrong)} of {len(rows)} pictures looked at have another size than "
            f"annotated; {wrong[0]}"
        )


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


def check_one_each(paths: Iterable[Path], what: str) -> None:
    """Raises ValueError where two pictures differ in their suffix only, as they share one label."""
    first: dict[Path, Path] = {}
    for path in paths:
        other = first.setdefault(path.with_suffix(""), path)
        if other is not path:
            raise ValueError(f"{other} and {path} share one {what}; rename or delete one")


def _listing(folder: Path) -> set[str]:
    """Names of all that is no folder."""
    if not folder.is_dir():
        return set()
    with os.scandir(folder) as entries:
        return {
            entry.name
            for entry in entries
            if not entry.is_dir(follow_symlinks=False)
            and not (entry.is_symlink() and os.path.isdir(entry.path))  # loops raise in is_dir
        }


def inside(
    root: Path, names: Sequence[str], origin: str, trusted: bool, start: Path | None = None
) -> list[Path]:
    """The paths of names that an annotation file gives.

    Args:
        root: folder of the data.
        trusted: names may lead out of the root.
        start: folder that the names are relative to; None: the root.

    Raises:
        ValueError: a name leads out of the root, by `..` or because it is absolute.
    """
    if trusted:
        return [(start or root) / name for name in names]
    bases = tuple(
        os.path.join(whole, "") for whole in (os.path.abspath(root), os.path.realpath(root))
    )
    # Without `..`, which the system would follow from the target of a link.
    paths = [Path(os.path.normpath((start or root) / name)) for name in names]
    outside = [
        name
        for name, path in zip(names, paths, strict=True)
        if not os.path.join(os.path.abspath(path), "").startswith(bases)
    ]
    if outside:
        raise ValueError(
            f"{origin}: {len(outside)} paths lead out of {root}, the folder of the data: "
            f"{examples(outside)}; correct them, or set data.trust_paths=true if you know the file"
        )
    return paths


def pictures_among(paths: Iterable[Path], findings: Findings) -> list[Path]:
    """Those files that are pictures of a kind that is read, in order; notes what else is there."""
    kept: list[Path] = []
    other: list[Path] = []
    hidden, odd, folders = [], [], []
    for path in sorted(paths):
        known = path.suffix.lower() in SUFFIXES
        if path.name.startswith("."):
            hidden += [path] * known
        elif path.is_dir():
            folders.append(path)
        elif not path.is_file():
            odd += [path] * known
        else:
            (kept if known else other).append(path)
    findings.drop("images", "hidden files", hidden)
    findings.drop("images", "pipes or broken links", odd)
    findings.add("folders not looked into", folders)
    findings.add(f"files of another kind than {', '.join(SUFFIXES)} left out", other)
    return kept


def read_pictures(source: Any) -> ImageFiles:
    """Pictures without annotations.

    Args:
        source: a file, a folder, a glob such as `photos/*.jpg`, or a list of these. Signs such as
            `[` mean themselves where a file or folder of that name is there.

    Raises:
        ValueError: nothing is found there, or a picture has no readable header.
    """
    several = isinstance(source, Sequence) and not isinstance(source, str)
    places = list(source) if several else [source]
    if not places or not all(
        type(place) is int or isinstance(place, (str, Path)) for place in places
    ):
        raise ValueError(f"source={source}: expected a file, a folder, a glob or a list of these")
    findings = Findings(str(source))
    paths: list[Path] = []
    for place in places:
        found = pictures_among(_matches(expanded(str(place))), findings)
        if not found:
            raise ValueError(
                f"{place}: no picture there; known suffixes: {', '.join(SUFFIXES)}{findings.told()}"
            )
        paths += found
    paths = unrepeated(paths, "images", "files named twice", findings)
    findings.log(images=len(paths))
    sizes = np.array([upright_size(path) for path in paths], np.int64)
    return ImageFiles(unannotated(sizes), paths)


def _matches(path: Path) -> list[Path]:
    """The path itself, the files of a folder, or what a pattern below a folder stands for."""
    base, rest = Path(path.anchor), list(path.parts[bool(path.anchor) :])
    while rest and (base / rest[0]).exists():
        base /= rest.pop(0)
    if rest:
        try:
            return list(base.glob(str(Path(*rest))))
        except ValueError as error:  # `**` beside other signs
            raise ValueError(f"{path}: {error}") from error
    return list(base.iterdir()) if base.is_dir() else [base]


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
