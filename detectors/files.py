"""Writes a file of a run whole or not at all, and knows pictures by their names."""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")  # suffixes

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_REMEDY = "choose another folder with hydra.run.dir=FOLDER"


@contextlib.contextmanager
def whole_file(path: str | Path, mode: str = "w", size: int = 0) -> Iterator[IO[Any]]:
    """A file that takes the place of `path` when the block has ended without an error.

    It is written beside `path`, therefore on the same file system, and is on the disk before it
    gets the name. So `path` holds its old content or all of the new, whatever stops the process or
    the machine.

    Args:
        path: a link is followed.
        mode: "w" for text in UTF-8, or "wb".
        size: bytes that it will take, as far as that is known.

    Raises:
        OSError: the folder has too little space or cannot be written; names the path, the bytes
            needed and those free, and the remedy.
    """
    path = Path(os.path.realpath(path))
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        _check_space(path, size)
        with open(beside, mode, **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        _sync(path.parent)
    except BaseException as error:
        written = _removed(beside)
        told = _told(error, path, max(size, written), written)
        if told is not None:
            raise told from error
        raise


def _check_space(path: Path, size: int) -> None:
    if size > _free(path.parent):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _free(folder: Path) -> int:
    place = os.statvfs(folder)
    return place.f_bavail * place.f_frsize


def _sync(folder: Path) -> None:
    """Bring the new name to the disk as well, where the file system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _removed(beside: Path) -> int:
    """Bytes of the unfinished file, which is gone now."""
    with contextlib.suppress(OSError):
        size = beside.stat().st_size
        beside.unlink()
        return size
    return 0


def _told(error: BaseException, path: Path, needed: int, written: int) -> OSError | None:
    """The sentence about a disk that is full or cannot be written; None for any other error.

    What writes for us may raise an error of its own while that of the disk is its context.
    """
    causes = [error, error.__cause__, error.__context__]
    numbers = [cause.errno for cause in causes if isinstance(cause, OSError)]
    number = next((n for n in numbers if n in (*_FULL, *_CLOSED)), None)
    if number is None:
        return None
    if number in _CLOSED:
        return OSError(f"{path} cannot be written ({os.strerror(number)}): {_REMEDY}")
    more = "more than " if needed == written else ""
    return OSError(
        f"{path} needs {more}{_megabytes(needed)}, its disk has {_megabytes(_free(path.parent))} "
        f"free: make room, or {_REMEDY}"
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB"
