"""Writes pictures and videos with what was found in them, one picture after the other."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from detectors.metrics.packed import PackedDetections
from detectors.metrics.results import Write, name_of
from detectors.structures import Picture
from detectors.visualization.pictures import drawn

CODEC = "mp4v"  # MPEG-4 part 2: the one for mp4 that every build of OpenCV has
RATE = 25.0  # frames a second where the source does not say


@contextmanager
def drawn_pictures(folder: Path, classes: Sequence[str]) -> Iterator[Write]:
    """`folder/ID_NAME.jpg` of each picture, with boxes, class names and scores."""

    def write(image_id: int, picture: Picture, found: PackedDetections) -> None:
        folder.mkdir(exist_ok=True)
        _drawn(picture, found, classes).save(folder / f"{image_id:05d}_{name_of(picture)}.jpg")

    yield write


@contextmanager
def drawn_videos(folder: Path, classes: Sequence[str]) -> Iterator[Write]:
    """`folder/ID_NAME.mp4` of each video, ID that of its first frame.

    A new one begins with a frame of another file or of a lower number.
    """
    with ExitStack() as video:
        last: tuple[str, int] = "", 0
        add: Callable[[np.ndarray], None] | None = None

        def write(image_id: int, picture: Picture, found: PackedDetections) -> None:
            nonlocal last, add
            assert picture.number is not None
            image = np.asarray(_drawn(picture, found, classes))
            if add is None or last[0] != picture.file or last[1] >= picture.number:
                video.close()
                folder.mkdir(exist_ok=True)
                file = folder / f"{image_id:05d}_{Path(picture.file).stem}.mp4"
                add = video.enter_context(whole_video(file, image.shape[:2], picture.rate or RATE))
            add(image)
            last = picture.file, picture.number

        yield write


def by_kind(pictures: Write, videos: Write) -> Write:
    """Gives pictures to the one, and frames of videos to the other."""

    def write(image_id: int, picture: Picture, found: PackedDetections) -> None:
        kind = pictures if picture.number is None else videos
        kind(image_id, picture, found)

    return write


def _drawn(picture: Picture, found: PackedDetections, classes: Sequence[str]) -> Image.Image:
    return drawn(picture.image, found.boxes, found.labels, classes, found.scores)


@contextmanager
def whole_video(
    path: Path, size: tuple[int, int], rate: float
) -> Iterator[Callable[[np.ndarray], None]]:
    """Adds images [H, W, 3] uint8 RGB to an mp4 file that is there when the block has ended.

    It is written beside `path`, as by `whole_file`.

    Args:
        size: height and width; an image of another size is resized to it.
        rate: frames a second.

    Raises:
        OSError: the file cannot be written, or not all of it.
    """
    beside = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    shape, count = size[::-1], 0
    writer = cv2.VideoWriter(str(beside), cv2.VideoWriter_fourcc(*CODEC), rate, shape)  # type: ignore[attr-defined]
    if not writer.isOpened():
        raise OSError(
            f"{path}: OpenCV cannot write a video there: is the disk full, or read-only? Choose "
            "another folder with hydra.run.dir=FOLDER, or write pictures with video=frames"
        )

    def add(image: np.ndarray) -> None:
        nonlocal count
        fitting = image if image.shape[:2] == size else cv2.resize(image, shape)
        writer.write(cv2.cvtColor(fitting, cv2.COLOR_RGB2BGR))
        count += 1

    try:
        yield add
        writer.release()
        _check_written(beside, path, count)
        os.replace(beside, path)
    finally:
        writer.release()
        beside.unlink(missing_ok=True)


def _check_written(beside: Path, path: Path, count: int) -> None:
    """Raises OSError where frames are missing, which OpenCV does not tell."""
    reader = cv2.VideoCapture(str(beside))
    found = int(reader.get(cv2.CAP_PROP_FRAME_COUNT)) if reader.isOpened() else 0
    reader.release()
    if found != count:
        raise OSError(
            f"{path}: {found} of {count} frames could be written: is the disk full? Make room, "
            "choose another folder with hydra.run.dir=FOLDER, or write pictures with video=frames"
        )
